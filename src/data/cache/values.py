"""Values that the store accepts and returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from operator import attrgetter
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..disk.files import FileState
from ..errors import CacheError
from ..model.bars import BadRow, BarTable, Stamps
from ..model.coverage import STATES, Coverage, Covered, Splice, less_grave, stretches
from ..model.edges import Edges, spans_of
from ..model.instant import MINUTE_MS, SECOND_MS, iso, year_of, year_start
from ..model.kind import Basis, Kind
from ..model.lifetime import Lifetime
from ..model.reasons import NO_TRADE
from ..model.series import SeriesKey
from ..model.source import SourceState
from ..model.span import Span, subtract
from ..vendors.registry import is_of_files


@dataclass(frozen=True)
class CommitPiece:
    """Bars to store, and the span for which they are the complete answer.

    Attributes:
        table: Rows, ascending, unique, checked, all inside ``span``; may be empty.
        span: Span that was requested and answered, in which the new answer is authoritative.
        vendor: Vendor that answered.
        fetched_at: Time of the request, UTC milliseconds.
        kind: Kind of the bars.
        basis: Basis of the bars' prices.
        state: ``final`` or ``provisional``.
        holes: Parts of ``span`` for which the vendor had no bar although one was expected; they
            stay missing.
        keeps: Whether stored bars in ``span`` that are not in ``table`` remain unchanged, as for
            answers that do not claim to be complete.
        splices: Results of comparing the bars with other vendors' bars where the two meet.
    """

    table: BarTable
    span: Span
    vendor: str
    fetched_at: int
    kind: Kind
    basis: Basis
    state: Literal["final", "provisional"]
    holes: tuple[Span, ...] = ()
    keeps: bool = False
    splices: tuple[Splice, ...] = ()

    def check(self) -> None:
        """Check that the attributes satisfy the conditions in this class's docstring.

        Raises:
            ValueError: The piece violates the contract, which is the caller's mistake.
        """
        wrong = self._wrong()
        if wrong:
            raise ValueError(f"invalid piece from {self.vendor} for {list(self.span)}: {wrong}")

    def _wrong(self) -> str:
        stamps = self.table.stamps
        if self.state not in ("final", "provisional"):
            return f"bars must be final or provisional, not {self.state!r}"
        if self.span.is_empty:
            return "the span is empty"
        if not len(stamps):
            return ""
        if not (stamps[1:] > stamps[:-1]).all():
            return "stamps must be ascending and unique"
        if stamps[0] < self.span.start or stamps[-1] >= self.span.end:
            return "rows are outside the span"
        if np.count_nonzero(stamps % SECOND_MS):
            return "a stamp is not a full second"
        return "an infinite value cannot be stored" if self.table.has_infinity() else ""


def removal(part: Covered, now_ms: int) -> CommitPiece:
    """Return a piece of a commit that removes a coverage entry's bars, as if never requested."""
    return CommitPiece(
        BarTable.empty(),
        part.span,
        part.vendor,
        now_ms,
        Kind("", "") if part.state == "empty" else part.kind,
        part.basis,
        "final",
        holes=(part.span,),
    )


def outdated_spans(key: SeriesKey, coverage: Coverage) -> list[Span]:
    """Return the spans with bars from a user's files that are not in a lane of their own folder.

    Earlier versions mixed bars from different folders; such bars are no longer read.
    """
    if key.of_folder:
        return []
    names = {whole.vendor for whole in coverage.sources}
    of_files = {text for text in names if any(map(is_of_files, text.split(",")))}
    return coverage.spans(lambda part: part.vendor in of_files) if of_files else []


class Seal(NamedTuple):
    """A seal on stored bars, which shows whether the bars are unchanged without reading them.

    Attributes:
        files: Maps the path of each relevant folder and file to its state at the time of sealing;
            None if it did not exist.
        use: Recorder of reads of the series.
        span: Span that is sealed.
    """

    files: Mapping[str, FileState | None]
    use: LaneUse
    span: Span


@dataclass(frozen=True, kw_only=True)
class SeriesFacts:
    """The facts in ``series.json`` about a whole series.

    Each field is declared here and, for the log of a store that many hosts share, in
    ``hosts/entry.py``; ``tests/hosts/test_golden_log.py`` compares the two. A fact is unknown if its
    field has the default value. :class:`Commit` contains newly learned facts; :class:`SeriesView` and
    the document itself contain the stored ones.

    Attributes:
        kind: Kind of the bars.
        next_due: Earliest time (UTC milliseconds) at which another request could change the answer.
        compared_at: Time (UTC milliseconds) at which the latest final bars were last compared with
            their vendor.
        lifetime: First and last time at which bars can exist.
        source: State of the local files, taken before the bars were read from them; only for a lane
            with bars from a user's folder.
    """

    kind: Kind | None = None
    next_due: int | None = None
    compared_at: int | None = None
    lifetime: Lifetime = Lifetime()
    source: SourceState | None = None

    def facts(self) -> dict[str, Any]:
        """Return the fields of this class, keyed by name."""
        return dict(zip(FACTS, _facts_of(self), strict=True))

    def known_facts(self) -> dict[str, Any]:
        """Return only the facts that are known."""
        return {name: fact for name, fact in self.facts().items() if fact != FACTS[name]}

    def updated(self, news: SeriesFacts) -> Self:
        """Return a copy updated with the known facts in ``news``."""
        lifetime = self.lifetime.updated(news.lifetime)
        return replace(self, **news.known_facts() | {"lifetime": lifetime})


# Maps each fact's name to the value that means unknown.
FACTS = {field.name: field.default for field in fields(SeriesFacts)}
_facts_of = attrgetter(*FACTS)


def no_check() -> None:
    """Do nothing, so that the commit is not interrupted."""


class SeriesChangedError(CacheError):
    """A commit was based on an earlier generation of the series; nothing was written."""


@dataclass(frozen=True)
class Commit(SeriesFacts):
    """A change to a series, in which each year is changed entirely or not at all.

    If a fact of the base class is unknown here, the stored fact stays unchanged.

    Attributes:
        pieces: Bars to store; where pieces overlap, the later piece wins.
        marks: Coverage changes without bars: ``empty`` spans, ``final`` for stored bars that were
            fetched again and found equal, ``suspect`` for spans that are not to be trusted.
        suspects: Invalid rows, for the quarantine.
        quality: ``score``, ``validation_errors``, ``gaps`` and ``duplicates`` of the years, if the
            caller knows more than the answers' faults show.
        judged: Span whose faults are replaced; None if nothing was checked.
        faults: Defects of the answer for the ``judged`` span, none of which extends across the end
            of a year.
        has_verdicts: Whether bars were checked together with their neighbours; the marks contain
            the findings.
        at_generation: Generation that the series must still have, if marks depend on it; None for
            any.
    """

    pieces: tuple[CommitPiece, ...] = ()
    marks: Sequence[Covered] = ()
    suspects: tuple[BadRow, ...] = ()
    quality: Mapping[str, Any] | None = None
    judged: Span | None = None
    faults: tuple[Fault, ...] = ()
    has_verdicts: bool = False
    at_generation: int | None = None

    def check(self) -> None:
        """Check that the commit's pieces and marks satisfy the conditions documented for them.

        Raises:
            ValueError: The commit violates the contract, which is the caller's mistake.
        """
        for piece in self.pieces:
            piece.check()
        for mark in stretches(self.marks).sources:
            if mark.state not in STATES:
                states = ", ".join(STATES)
                raise ValueError(f"mark {list(mark.span)}: {mark.state!r} is not one of {states}")

    @property
    def is_empty(self) -> bool:
        """Whether the commit would not change anything."""
        return not any((self.pieces, self.marks, self.suspects, self.known_facts()))


@dataclass(frozen=True)
class SeriesView(SeriesFacts):
    """Summary of a stored series, available without opening a data file.

    Attributes that are not listed here are documented in :class:`SeriesFacts`. If the series'
    document is lost, ``kind`` is taken from the bars. ``next_due`` is None if the years have
    changed since the document was written.

    Attributes:
        key: Series that is summarised.
        coverage: Coverage of the series.
        generation: Number that increases with every commit to any year; 0 if nothing is stored.
        rows: Number of bars stored.
        first, last: Timestamps of the first and last bar, or None.
        faults: Defects in the responses that delivered the bars.
        barred: Years that cannot be read because a folder, link or other object is in place of
            their document. The other attributes do not include these years.
    """

    key: SeriesKey
    coverage: Coverage = Coverage()
    generation: int = 0
    rows: int = 0
    first: int | None = None
    last: int | None = None
    faults: tuple[Fault, ...] = ()
    barred: tuple[int, ...] = ()

    @property
    def exists(self) -> bool:
        """Whether anything is stored."""
        return self.generation > 0 or self.rows > 0 or bool(self.coverage)


class StoredSpan(NamedTuple):
    """Everything stored for a span of a series.

    Attributes:
        view: View of the whole series.
        table: Bars in the span.
        coverage: Coverage of the span.
        suspects: Rejected rows, for timestamps that have no good bar.
    """

    view: SeriesView
    table: BarTable
    coverage: Coverage
    suspects: Sequence[BadRow] = ()


# --- faults ------------------------------------------------------------------------------

MISSING, MISSING_VOLUME, BAD, CONTRADICTED, DUPLICATE, NOTE = (
    "missing",
    "missing_volume",
    "bad",
    "contradicted",
    "duplicate",
    "note",
)
# Neighbouring faults are merged until there are about this many; each kind may have one more.
_MOST, _KINDS, _MOST_SENTENCES = 64, 8, 20


class Fault(NamedTuple):
    """A defect of an answer.

    Attributes:
        span: Affected span; for a fault that does not concern particular bars, the start of the
            answer.
        kind: ``missing`` (expected bars that did not arrive), ``missing_volume`` (bars without the
            volume that their vendor declares), ``bad`` (invalid rows), ``contradicted`` (bars whose
            rows differed), ``duplicate`` or ``note``.
        number: Number of bars or rows.
        text: Reason for a bad row, or the text of a note.
    """

    span: Span
    kind: str
    number: int
    text: str = ""

    def to_json(self) -> list[Any]:
        """Return the stored form of the fault: a list of its start, end, kind, number and text."""
        return [*self.span, self.kind, self.number, self.text]

    @property
    def is_of_bars(self) -> bool:
        """Whether the fault concerns bars that exist, such as missing volume, or is not a defect at all."""
        return self.kind in (MISSING_VOLUME, DUPLICATE, NOTE) or self.text == NO_TRADE

    def clip(self, span: Span) -> Fault | None:
        """Return the part of the fault in ``span``, with its share of the bars or rows, or None."""
        part, whole = self.span.clip(span), self.span.end - self.span.start
        if part.is_empty:
            return None
        return self._replace(
            span=part, number=max(1, self.number * (part.end - part.start) // whole)
        )

    def outside(self, span: Span) -> list[Fault]:
        """Return the parts of the fault outside ``span``, each with its share of the bars or rows."""
        if not self.span.overlaps(span):
            return [self]
        whole = self.span.end - self.span.start
        return [
            self._replace(span=part, number=max(1, self.number * (part.end - part.start) // whole))
            for part in subtract([self.span], [span])
        ]


def without_volume(bare: Stamps, answered: Span) -> Iterator[Fault]:
    """Yield one fault per year for the bars in ``answered`` that lack a volume.

    Args:
        bare: Timestamps of bars without a volume, ascending.
        answered: Span that was checked.
    """
    bare = bare[(bare >= answered.start) & (bare < answered.end)]
    if not len(bare):
        return
    for year in range(year_of(int(bare[0])), year_of(int(bare[-1])) + 1):
        part = bare[(bare >= year_start(year)) & (bare < year_start(year + 1))]
        if len(part):
            yield Fault(Span(int(part[0]), int(part[-1]) + 1), MISSING_VOLUME, len(part))


class FaultGroup(NamedTuple):
    """Faults of one kind as columns, ascending.

    Attributes:
        kind: See :class:`Fault`.
        edges: Span of each fault.
        numbers: Number of bars or rows that each fault concerns.
        texts: Text of each fault; if there is only one text, it applies to all faults.
    """

    kind: str
    edges: Edges
    numbers: NDArray[np.int64]
    texts: Sequence[str] = ("",)

    @classmethod
    def of_bars(cls, kind: str, stamps: Stamps, texts: Sequence[str] = ("",)) -> FaultGroup:
        """Return a group of ``kind`` faults, one per bar."""
        return cls(kind, np.column_stack([stamps, stamps + 1]), np.ones(len(stamps), int), texts)

    def faults(self, total: int) -> Iterator[Fault]:
        """Yield the faults; if all groups together have more than 64, merge adjacent ones.

        ``total`` is the number in all groups. A merged fault does not extend across the end of a
        year.
        """
        count = len(self.edges)
        if not count:
            return
        every = 1 if total <= _MOST else -(-count // max(1, -(-count * _MOST // total)))
        years = self.edges[:, 0].astype("M8[ms]").astype("M8[Y]")
        cuts = np.append(np.flatnonzero(np.append(True, years[1:] != years[:-1])), count)
        for begin, end in pairwise(cuts.tolist()):
            firsts = np.arange(begin, end, every)
            lasts = np.minimum(firsts + every, end) - 1
            spans = spans_of(np.column_stack([self.edges[firsts, 0], self.edges[lasts, 1]]))
            numbers = np.add.reduceat(self.numbers[:end], firsts).tolist()
            for span, number, first in zip(spans, numbers, firsts.tolist(), strict=True):
                yield Fault(span, self.kind, number, self.texts[first % len(self.texts)])


def faults_after(old: Iterable[Fault], answered: Span, fresh: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return a year's faults after a new answer, which replaces the old faults in ``answered``.

    If there are more than 64 faults, adjacent faults of the same kind are merged.
    """
    left = [part for fault in old for part in fault.outside(answered)]
    faults = sorted([*left, *fresh])
    if len(faults) <= _MOST + _KINDS:
        return tuple(faults)
    joined: list[Fault] = []
    for kind in dict.fromkeys((fault.kind, fault.text == NO_TRADE) for fault in faults):
        own = [fault for fault in faults if (fault.kind, fault.text == NO_TRADE) == kind]
        size = -(-len(own) * _MOST // len(faults))
        every = -(-len(own) // size)
        runs = (own[at : at + every] for at in range(0, len(own), every))
        joined += (
            Fault(Span(run[0].span.start, run[-1].span.end), kind[0], _count(run), run[0].text)
            for run in runs
        )
    return tuple(sorted(joined))


def faults_within(faults: Iterable[Fault], span: Span) -> list[Fault]:
    """Return the faults that overlap ``span``."""
    return [fault for fault in faults if fault.span.overlaps(span)]


def quality_of(
    faults: Sequence[Fault], rows: int, grave: Mapping[str, int] | None = None
) -> Mapping[str, Any]:
    """Return the quality of ``rows`` stored bars: score, descriptions, gaps and duplicates.

    The score is the product of four fractions: good rows among all rows, existing bars (including
    bad rows) among expected ones, rows without contradictions, and rows that do not lack a volume.
    Rows that are almost certainly wrong reduce the score by their fraction, as for an answer's
    score.

    Args:
        faults: Faults of the answers.
        rows: Number of stored bars.
        grave: Maps each reason for which bars are almost certainly wrong to their number.
    """
    grave = grave or {}
    by_kind = {kind: [f for f in faults if f.kind == kind] for kind in (MISSING, BAD, CONTRADICTED)}
    missing, bad, odd = (_count(group) for group in by_kind.values())
    stamps = rows + bad
    score = 1.0
    if stamps + missing:
        score = rows / (stamps + missing) * (1 - min(odd, stamps) / stamps if stamps else 0.0)
    bare = _count([f for f in faults if f.kind == MISSING_VOLUME])
    score *= 1 - min(bare, rows) / rows if rows else 1.0
    return {
        "score": round(less_grave(score, sum(grave.values()), rows), 6),
        "validation_errors": [*grave, *sentences(faults, rows)][:_MOST_SENTENCES],
        "gaps": len([f for f in by_kind[MISSING] if f.text != NO_TRADE]),
        "duplicates": _count([f for f in faults if f.kind == DUPLICATE]),
    }


def sentences(faults: Sequence[Fault], rows: int) -> list[str]:
    """Describe the faults, in at most 20 sentences."""
    missing = _count([f for f in faults if f.kind == MISSING])
    bad = [f for f in faults if f.kind == BAD]
    odd = [f for f in faults if f.kind == CONTRADICTED]
    texts = [f.text for f in faults if f.kind == NOTE]
    if missing:
        texts.append(f"{missing} of {rows + missing + _count(bad)} expected bars are missing")
    if bare := _count([f for f in faults if f.kind == MISSING_VOLUME]):
        texts.append(f"missing_volume: {bare} of {rows} bars have no volume")
    if bad:
        texts.append(f"{_count(bad)} rows cannot be bars")
    texts += [f"{iso(f.span.start)}: rows of this stamp contradict each other" for f in odd]
    texts += [f"{iso(f.span.start)}: {f.text}" for f in bad]
    return list(dict.fromkeys(texts))[:_MOST_SENTENCES]


def _count(faults: Iterable[Fault]) -> int:
    return sum(fault.number for fault in faults)


# --- uses -----------------------------------------------------------------------------------


_NEVER = 1 << 62
# Data used this recently may be needed by a request in progress, here or in another process.
IN_USE_MS = 5 * MINUTE_MS


class Use(NamedTuple):
    """The last use of a lane: its time, and the timestamp of the first bar used (UTC milliseconds)."""

    last_ms: int = 0
    from_ms: int = 0

    def after(self, before: Use) -> Use:
        """Return the later of two uses; if they are close in time, the earlier first bar is kept."""
        first, then = sorted((self, before))
        is_soon = then.last_ms - first.last_ms < IN_USE_MS
        return Use(then.last_ms, min(first.from_ms, then.from_ms) if is_soon else then.from_ms)

    def needs(self, until_ms: int, now_ms: int) -> bool:
        """Return whether bars before ``until_ms`` were used so recently that they may be in use now."""
        return self.last_ms > now_ms - IN_USE_MS and self.from_ms < until_ms


class LaneUse:
    """Records the uses of a lane.

    Thread-safe, although a use may occasionally be lost. To save time, reads do not query a clock;
    instead, they are dated when :meth:`take` is called.
    """

    __slots__ = ("_committed_ms", "_from_ms", "_is_read")

    def __init__(self) -> None:
        self._is_read, self._committed_ms, self._from_ms = False, 0, _NEVER

    def read(self, from_ms: int) -> None:
        """Record a read of bars at or after ``from_ms``."""
        self._is_read = True
        if from_ms < self._from_ms:
            self._from_ms = from_ms

    def committed(self, from_ms: int, now_ms: int) -> None:
        """Record a commit of bars at or after ``from_ms``."""
        self._committed_ms, self._from_ms = now_ms, min(from_ms, self._from_ms)

    def take(self, now_ms: int) -> Use | None:
        """Return the last use, or None if there was none, and forget it."""
        last, start = now_ms if self._is_read else self._committed_ms, self._from_ms
        self._is_read, self._committed_ms, self._from_ms = False, 0, _NEVER
        return Use(last, start) if last else None
