"""Values that the store takes and returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from ..disk.files import FileState
from ..errors import CacheError
from ..model.bars import Bar, BarTable, Stamps
from ..model.coverage import STATES, Coverage, Covered, Splice, less_grave
from ..model.instant import MINUTE_MS, SECOND_MS, iso, year_of, year_start
from ..model.kind import Basis, Kind
from ..model.lifetime import Lifetime
from ..model.series import SeriesKey
from ..model.source import SourceState
from ..model.span import Span, coalesce, subtract
from ..vendors.registry import is_of_files


@dataclass(frozen=True)
class CommitPiece:
    """Bars to store, and the stretch they are the whole answer to.

    Attributes:
        table: rows ascending, unique, checked, all inside ``span``; none is allowed.
        span: stamps that were asked and answered; here the new answer is the truth.
        vendor: the vendor that answered.
        fetched_at: UTC milliseconds.
        kind: of the bars.
        basis: of their prices.
        state: ``final`` or ``provisional``.
        holes: parts of ``span`` the vendor had no bar for though one was expected; they stay
            missing.
        keeps: whether stored bars of ``span`` that are not in ``table`` stay as they are, for
            answers that do not claim to be whole.
        splices: where they were fitted to bars of other vendors.
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
        """Check the promises above.

        Raises:
            ValueError: the rows cannot be stored as they are: the caller's mistake.
        """
        wrong = self._wrong()
        if wrong:
            raise ValueError(f"piece of {self.vendor} {list(self.span)}: {wrong}")

    def _wrong(self) -> str:
        stamps = self.table.stamps
        if self.state not in ("final", "provisional"):
            return f"bars are final or provisional, not {self.state!r}"
        if self.span.is_empty:
            return "the span is empty"
        if not len(stamps):
            return ""
        if not (stamps[1:] > stamps[:-1]).all():
            return "stamps must be ascending and unique"
        if stamps[0] < self.span.start or stamps[-1] >= self.span.end:
            return "rows lie outside of the span"
        if np.count_nonzero(stamps % SECOND_MS):
            return "a stamp is no full second"
        return "an infinite value cannot be stored" if self.table.has_infinity() else ""


def removal(part: Covered, now_ms: int) -> CommitPiece:
    """Return the piece that takes the bars of a stretch out of a series: it counts as never asked."""
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
    """Return the stretches of files that no lane of a folder holds: earlier versions mixed folders.

    What is stored there is never read again.
    """
    if key.of_folder:
        return []
    names = {whole.vendor for whole in coverage}
    names |= {source.vendor for whole in coverage for source, _ in whole.parts}
    of_files = {text for text in names if any(map(is_of_files, text.split(",")))}
    return coalesce(p.span for p in coverage.opened() if p.vendor in of_files) if of_files else []


class Seal(NamedTuple):
    """What tells from outside that what is stored of a stretch is what it was.

    Attributes:
        files: path to the state it was in: folders, data files, splits and dividends; None for what
            did not exist.
        use: notes the reads of the series.
        span: the stretch.
    """

    files: Mapping[str, FileState | None]
    use: LaneUse
    span: Span


class Suspect(NamedTuple):
    """A row that cannot be a bar, kept beside the series: the row as it came, and what is wrong."""

    bar: Bar
    reason: str


@dataclass(frozen=True, kw_only=True)
class SeriesFacts:
    """What ``series.json`` says of a whole series: each field is declared here and nowhere else.

    A field with its default says nothing. :class:`Commit` has what was learned, :class:`SeriesView`
    and the document itself have what is stored.

    Attributes:
        kind: of its bars.
        next_due: earliest UTC milliseconds at which asking again could change the answer.
        compared_at: UTC milliseconds at which the newest final bars were compared again with what
            their vendor says.
        lifetime: from when to when there can be bars.
        source: the files that the bars of the lane of a folder were read from, looked at before.
    """

    kind: Kind | None = None
    next_due: int | None = None
    compared_at: int | None = None
    lifetime: Lifetime = Lifetime()
    source: SourceState | None = None

    def facts(self) -> dict[str, Any]:
        """Return the fields of this class by name."""
        return dict(zip(FACTS, _facts_of(self), strict=True))

    def known_facts(self) -> dict[str, Any]:
        """Return those alone that say something."""
        return {name: fact for name, fact in self.facts().items() if fact != FACTS[name]}

    def updated(self, news: SeriesFacts) -> Self:
        """Return the same with the facts of ``news``; where it says nothing, the own ones stay."""
        lifetime = self.lifetime.updated(news.lifetime)
        return replace(self, **news.known_facts() | {"lifetime": lifetime})


# The facts by name, and what says nothing of each.
FACTS = {field.name: field.default for field in fields(SeriesFacts)}
_facts_of = attrgetter(*FACTS)


class SeriesChangedError(CacheError):
    """A commit was decided by an earlier generation of the series; nothing was written."""


@dataclass(frozen=True)
class Commit(SeriesFacts):
    """One change of a series; a year of it is changed wholly or not at all.

    The facts of the series are what was learned of it: where one says nothing, the stored one stays.

    Attributes:
        pieces: bars; where pieces overlap the later one counts.
        marks: what is learned without bars: ``empty`` stretches, ``final`` for stored bars that
            were asked again and found equal, ``suspect`` for what is not to be trusted.
        suspects: bad rows, for the quarantine.
        quality: ``score``, ``validation_errors``, ``gaps`` and ``duplicates`` of the years, where
            the caller knows better than the faults of their answers tell.
        judged: the stretch of which the faults are told anew; None where nothing was checked.
        faults: what was wrong with that answer, none of it across the end of a year.
        has_verdicts: whether its bars were judged beside their neighbours; the marks have what was
            found.
        at_generation: Generation that the series must still be at, for marks that were decided by it;
            None if it may be any.
    """

    pieces: tuple[CommitPiece, ...] = ()
    marks: tuple[Covered, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    quality: Mapping[str, Any] | None = None
    judged: Span | None = None
    faults: tuple[Fault, ...] = ()
    has_verdicts: bool = False
    at_generation: int | None = None

    def check(self) -> None:
        """Check what pieces and marks promise.

        Raises:
            ValueError: something could not be read again as it is: the caller's mistake.
        """
        for piece in self.pieces:
            piece.check()
        for mark in self.marks:
            if mark.state not in STATES:
                states = ", ".join(STATES)
                raise ValueError(f"mark of {list(mark.span)}: {mark.state!r} is none of {states}")

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to write at all."""
        return not any((self.pieces, self.marks, self.suspects, self.known_facts()))


@dataclass(frozen=True)
class SeriesView(SeriesFacts):
    """What is stored of a series, known without opening a data file.

    Of its facts the kind is what the bars tell where the document is lost; ``next_due`` counts only
    while the years are as they were when it was written.

    Attributes:
        key: the series.
        coverage: what is known about which stamps.
        generation: grows with every commit to any year of it; 0 when nothing is stored.
        rows: bars stored.
        first, last: their outermost stamps, or None.
        faults: what was wrong with the answers that its bars came in.
        barred: years that cannot be read, for something else is in the place of a document: nothing
            else here tells of them.
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
        """Tell whether anything is stored."""
        return self.generation > 0 or self.rows > 0 or bool(self.coverage)


class Stretch(NamedTuple):
    """What is stored of a stretch.

    Attributes:
        view: of the whole series.
        table: the bars.
        coverage: what is known about the stretch.
        suspects: the bad rows in whose place there is no good one.
    """

    view: SeriesView
    table: BarTable
    coverage: Coverage
    suspects: Sequence[Suspect] = ()


# --- faults ------------------------------------------------------------------------------

MISSING, MISSING_VOLUME, BAD, CONTRADICTED, DUPLICATE, NOTE = (
    "missing",
    "missing_volume",
    "bad",
    "contradicted",
    "duplicate",
    "note",
)
# Said of bars that are missing for want of trades, as far as is known: they are no gap.
NO_TRADE = "no trade"
_MOST, _MOST_SENTENCES = 64, 20


class Fault(NamedTuple):
    """One fault of an answer.

    Attributes:
        span: where; of what concerns no single bar the first stamp of the answer.
        kind: ``missing`` (expected bars that did not come), ``missing_volume`` (bars without the
            volume that their vendor declares), ``bad`` (rows that cannot be bars),
            ``contradicted`` (bars whose rows differed), ``duplicate`` or ``note``.
        number: how many bars or rows.
        text: the reason of a bad row; a sentence of a note.
    """

    span: Span
    kind: str
    number: int
    text: str = ""

    def to_json(self) -> list[Any]:
        """Return the plain values that are stored."""
        return [*self.span, self.kind, self.number, self.text]

    @property
    def is_of_bars(self) -> bool:
        """Tell whether it is about bars that are there, or that are no fault of an answer."""
        return self.kind in (MISSING_VOLUME, DUPLICATE, NOTE) or self.text == NO_TRADE

    def clip(self, span: Span) -> Fault | None:
        """Return its part in ``span``, with its share of the count; None where there is none."""
        part, whole = self.span.clip(span), self.span.end - self.span.start
        if part.is_empty:
            return None
        return self._replace(
            span=part, number=max(1, self.number * (part.end - part.start) // whole)
        )

    def outside(self, span: Span) -> list[Fault]:
        """Return what is left of it beside ``span``, with its share of the count."""
        if not self.span.overlaps(span):
            return [self]
        whole = self.span.end - self.span.start
        return [
            self._replace(span=part, number=max(1, self.number * (part.end - part.start) // whole))
            for part in subtract([self.span], [span])
        ]


def without_volume(bare: Stamps, answered: Span) -> Iterator[Fault]:
    """Yield the bars in ``answered`` that lack a volume, one fault for each year.

    Args:
        bare: their stamps, ascending.
        answered: the stretch that is judged.
    """
    bare = bare[(bare >= answered.start) & (bare < answered.end)]
    if not len(bare):
        return
    for year in range(year_of(int(bare[0])), year_of(int(bare[-1])) + 1):
        part = bare[(bare >= year_start(year)) & (bare < year_start(year + 1))]
        if len(part):
            yield Fault(Span(int(part[0]), int(part[-1]) + 1), MISSING_VOLUME, len(part))


def after(old: Iterable[Fault], answered: Span, fresh: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return the faults of a year after an answer for ``answered``: there only its own count.

    Beyond 64 neighbours of a kind are told as one.
    """
    left = [part for fault in old for part in fault.outside(answered)]
    faults = sorted([*left, *fresh])
    if len(faults) <= _MOST:
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


def within(faults: Iterable[Fault], span: Span) -> list[Fault]:
    """Return the faults that concern ``span``."""
    return [fault for fault in faults if fault.span.overlaps(span)]


def quality_of(
    faults: Sequence[Fault], rows: int, grave: Mapping[str, int] | None = None
) -> Mapping[str, Any]:
    """Return the quality of ``rows`` stored bars: score, sentences, gaps and duplicates.

    The score is the product of four shares: good rows among good and bad ones; expected bars that
    are there, a bad row being one; rows that none contradicts; rows that do not lack a volume. Rows
    that are wrong nearly for certain take away their share of it, as from the score of an answer.

    Args:
        faults: of the answers.
        rows: how many bars are stored.
        grave: verdict to the number of bars that it is about.
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
    """Return the faults in words, at most 20."""
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
# Of what was used so lately more may be needed: by a request on its way, here or in another process.
IN_USE_MS = 5 * MINUTE_MS


class Use(NamedTuple):
    """The last use of a lane: when, and from which stamp on it reached, all in UTC milliseconds."""

    last_ms: int = 0
    from_ms: int = 0

    def after(self, before: Use) -> Use:
        """Return the two as one: what is used again soon is in use as far as both reach."""
        first, then = sorted((self, before))
        is_soon = then.last_ms - first.last_ms < IN_USE_MS
        return Use(then.last_ms, min(first.from_ms, then.from_ms) if is_soon else then.from_ms)

    def needs(self, until_ms: int, now_ms: int) -> bool:
        """Tell whether bars up to a stamp may be in use now."""
        return self.last_ms > now_ms - IN_USE_MS and self.from_ms < until_ms


class LaneUse:
    """Notes the uses of one lane until they are taken. Thread-safe: one may be lost, no more.

    No clock is asked for a read: it counts for the time at which it is taken.
    """

    __slots__ = ("_committed_ms", "_from_ms", "_is_read")

    def __init__(self) -> None:
        self._is_read, self._committed_ms, self._from_ms = False, 0, _NEVER

    def read(self, from_ms: int) -> None:
        """Take note of a read of bars from ``from_ms`` on."""
        self._is_read = True
        if from_ms < self._from_ms:
            self._from_ms = from_ms

    def committed(self, from_ms: int, now_ms: int) -> None:
        """Take note of a commit of bars from ``from_ms`` on."""
        self._committed_ms, self._from_ms = now_ms, min(from_ms, self._from_ms)

    def take(self, now_ms: int) -> Use | None:
        """Return the last use, None where there was none, and begin anew."""
        last, start = now_ms if self._is_read else self._committed_ms, self._from_ms
        self._is_read, self._committed_ms, self._from_ms = False, 0, _NEVER
        return Use(last, start) if last else None
