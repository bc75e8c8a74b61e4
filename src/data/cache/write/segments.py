"""The bars of a year as a list of segments while a new file is composed.

A segment is what will be one member: a header and its bars, either the untouched compressed body
of a stored member or rows still to be written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from operator import attrgetter

import numpy as np

from ...model.bars import BarTable, among, concat, merge
from ...model.coverage import CLOSED, Coverage, Covered
from ...model.instant import DAY_MS, date_of, day_ms
from ...model.kind import Basis
from ...model.span import Span, clipped, coalesce, intersect, subtract, touching
from ..actions import ActionBook
from ..format.csv_rows import header_line
from ..format.gzip_member import MOST_HOLES, Header, Member
from ..read.year_file import YearFile, rows_of
from ..values import CommitPiece
from .series import SeriesFiles

# Bars of several days stand together up to so many: a header costs next to nothing beside them, and
# they are written anew in no time.
FEW_ROWS = 1_024
# Of fewer bars the text is written anew: that takes less time than inflating it.
ROWS_WORTH_FINDING = 10_000
_END = attrgetter("end")


@dataclass(frozen=True)
class YearSegment:
    """One member to be.

    Attributes:
        header: what it will say; chained when it is written.
        member: the stored member whose body it keeps, or None.
        rows: the bars, or None while only the body holds them.
        at_start: whether that body stood first in its file and so begins with the CSV header.
        columns: of that file.
        lines: the bars as text, as they are stored; None where there is none at hand.
    """

    header: Header
    member: Member | None = None
    rows: BarTable | None = None
    at_start: bool = False
    columns: tuple[str, ...] = ()
    lines: bytes | None = None

    def table(self) -> BarTable:
        """Return the bars."""
        if self.rows is not None:
            return self.rows
        if self.member is None:
            return BarTable.empty()
        return rows_of(self.member, self.columns, first=self.at_start)

    def part(self, span: Span) -> YearSegment | None:
        """Return the part inside ``span`` as rows to be written; None without bars."""
        whole = self.table()
        table = whole.within(span)
        if not len(table):
            return None
        header = _header_of(self.header, table, self.header.span.clip(span))
        return YearSegment(
            header, rows=table, columns=self.columns, lines=self._lines(whole, table)
        )

    def _lines(self, whole: BarTable, table: BarTable) -> bytes | None:
        """Return the text of ``table``, some of the bars, where finding it beats writing it anew."""
        if len(table) < ROWS_WORTH_FINDING:
            return None
        if self.lines is not None:
            text, at = self.lines, 0
        elif self.member is not None:
            text, at = self.member.text(), len(header_line(self.columns)) if self.at_start else 0
        else:
            return None
        first = int(np.searchsorted(whole.stamps, table.stamps[0]))
        start = line_of(text, whole, first) if first else at
        lines = text[start : line_of(text, whole, first + len(table))]
        return lines if lines.count(b"\n") == len(table) else None


def line_of(text: bytes, whole: BarTable, row: int) -> int:
    """Return where the line of a row begins, which is not the first; of none: the end."""
    if row == len(whole):
        return len(text)
    stamp = np.datetime_as_string(whole.stamps[row].astype("M8[ms]"), unit="s")
    return text.find(f"\n{stamp}".replace("T", " ").encode("ascii")) + 1


def _header_of(header: Header, table: BarTable, span: Span) -> Header:
    return replace(
        header,
        rows=len(table),
        first=int(table.stamps[0]),
        last=int(table.stamps[-1]),
        span=Span(min(span.start, int(table.stamps[0])), max(span.end, int(table.stamps[-1]) + 1)),
        holes=tuple(intersect([span], header.holes)),
        spelled={},
    )


def of_file(file: YearFile) -> list[YearSegment]:
    """Return the segments of a stored file; header-only members are left out."""
    return [
        YearSegment(member.header, member, at_start=place == 0, columns=file.state.columns)
        for place, member in enumerate(file.members)
        if member.header.rows
    ]


def of_piece(piece: CommitPiece, identity: str, generation: int) -> YearSegment:
    """Return the segment of a piece with bars."""
    blank = Header(
        id=identity,
        seq=generation,
        rows=0,
        first=None,
        last=None,
        span=piece.span,
        vendor=piece.vendor,
        fetched_at=piece.fetched_at,
        kind=piece.kind,
        basis=piece.basis,
        state=piece.state,
        holes=piece.holes,
    )
    return YearSegment(_header_of(blank, piece.table, piece.span), rows=piece.table)


# --- what a commit does to them ------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """What became of the stored bars.

    Attributes:
        added, changed, removed: counts of bars.
        withdrawn: the removed bars themselves.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    withdrawn: BarTable = BarTable.empty()


def with_pieces(
    segments: list[YearSegment], pieces: Iterable[CommitPiece], identity: str, generation: int
) -> tuple[list[YearSegment], Change]:
    """Return the segments after new answers: in each piece's span only its own bars remain."""
    new: list[YearSegment] = []
    end, pieces = 0, list(pieces)
    for piece in pieces:
        if piece.span.start < end:  # it overlaps one before it
            new = [part for s in new for part in _outside(s, piece.span)]
        end = max(end, piece.span.end)
        if len(piece.table):
            new.append(of_piece(piece, identity, generation))
    answered = coalesce(piece.span for piece in pieces)
    after = [part for segment in segments for part in _beside(segment, answered)] + new
    after.sort(key=lambda s: s.header.first or 0)
    return after, _change(_rows_in(segments, answered), _rows_in(after, answered))


def _beside(segment: YearSegment, answered: Sequence[Span]) -> list[YearSegment]:
    """Return what is left of a segment beside ascending, disjoint spans."""
    parts = [segment]
    for span in touching(answered, segment.header.span):
        parts = [part for one in parts for part in _outside(one, span)]
    return parts


def _outside(segment: YearSegment, span: Span) -> list[YearSegment]:
    """Return what is left of a segment beside ``span``, its bars' own stretches only."""
    header = segment.header
    if not header.span.overlaps(span) or header.first is None or header.last is None:
        return [segment]
    parts = subtract([header.span], [span])
    holding = [p for p in parts if p.start <= header.first and header.last < p.end]
    if holding:
        holes = tuple(intersect(holding, header.holes))
        return [replace(segment, header=replace(header, span=holding[0], holes=holes))]
    return [left for p in parts if (left := segment.part(p)) is not None]


def _rows_in(segments: Iterable[YearSegment], spans: Sequence[Span]) -> BarTable:
    """Return the bars whose stamps are in one of ``spans``, which are ascending and disjoint."""
    tables: list[BarTable] = []
    for segment in segments:
        header = segment.header
        inside = clipped(spans, Span(header.first or 0, (header.last or 0) + 1))
        table = segment.table() if inside else BarTable.empty()
        tables += (table.within(span) for span in inside)
    return merge(BarTable.empty(), concat(tables))


def _change(old: BarTable, new: BarTable) -> Change:
    kept, are_old = among(old.stamps, new.stamps), among(new.stamps, old.stamps)
    changed = _differences(old.take(kept), new.take(are_old))
    gone = old.take(~kept)
    return Change(int((~are_old).sum()), changed, len(gone), gone)


def _differences(one: BarTable, other: BarTable) -> int:
    """Count rows of the same stamps in which a value differs; missing equals missing."""
    differs = np.zeros(len(one), dtype=bool)
    pairs = list(zip(one.values()[:5], other.values()[:5], strict=True))
    if one.adj_close is not None and other.adj_close is not None:
        pairs.append((one.adj_close, other.adj_close))
    for mine, theirs in pairs:
        differs |= (mine != theirs) & ~(np.isnan(mine) & np.isnan(theirs))
    return int(differs.sum())


def settled(segments: Iterable[YearSegment], coverage: Coverage) -> list[YearSegment]:
    """Return the segments with the state that the coverage gives their bars by now."""
    return [part for segment in segments for part in _settled(segment, coverage)]


def _settled(segment: YearSegment, coverage: Coverage) -> list[YearSegment]:
    header = segment.header
    extent = Span(header.first or 0, (header.last or 0) + 1)
    covered = [part for part in coverage.touching(extent) if part.state != "empty"]
    if _states(covered) <= {header.state}:
        return [segment]
    # Where a member has no bar, it is not about its bars.
    shown = subtract([extent], header.holes)
    parts_in = (part for one in covered if (part := one.clip(extent)) is not None)
    covered = [part for part in parts_in if _overlaps_any(part.span, shown)]
    states = _states(covered)
    if not covered or states == {header.state}:
        return [segment]
    if len(states) == 1:
        fetched = max(header.fetched_at, *(c.fetched_at for c in covered))
        return [replace(segment, header=replace(header, state=states.pop(), fetched_at=fetched))]
    edges = [header.span.start, *(c.span.start for c in covered[1:]), header.span.end]
    parts = (segment.part(Span(a, b)) for a, b in pairwise(edges))
    return [done for part in parts if part is not None for done in _settled(part, coverage)]


def _states(covered: Iterable[Covered]) -> set[str]:
    """Return the states that members with bars of these stretches have."""
    return {"final" if part.state == "final" else "provisional" for part in covered}


def _overlaps_any(span: Span, ascending: Sequence[Span]) -> bool:
    """Tell whether a span shares a stamp with one of disjoint, ascending ones."""
    at = bisect_right(ascending, span.start, key=_END)
    return at < len(ascending) and ascending[at].start < span.end


# --- compaction ----------------------------------------------------------------------------


def compacted(
    segments: Iterable[YearSegment],
    coverage: Coverage,
    *,
    by_day: bool,
    most_rows: int | None = None,
) -> list[YearSegment]:
    """Return the segments with equal neighbours joined.

    Args:
        segments: ascending.
        coverage: tells whether two spans adjoin although no bar lies between them.
        by_day: join bars of different UTC dates only up to a thousand or so, so that a long year
            is not packed anew daily.
        most_rows: no more bars in one segment than this; None for no such bound.
    """
    groups: list[_Group] = []
    for segment in segments:
        gap = groups[-1].gap(segment, coverage) if groups else None
        if gap is None or not groups[-1].has_room(segment, gap, most_rows, by_day=by_day):
            groups.append(_Group([segment], segment.header.rows, list(segment.header.holes)))
        else:
            groups[-1].add(segment, gap)
    return [group.joined() for group in groups]


@dataclass
class _Group:
    """Segments that become one.

    Attributes:
        segments: ascending.
        rows: of all of them.
        holes: of all of them, and the hours between where no vendor was asked.
    """

    segments: list[YearSegment]
    rows: int
    holes: list[Span]

    def gap(self, segment: YearSegment, coverage: Coverage) -> list[Span] | None:
        """Return what lies before ``segment`` unasked, at most one; None where it may not join."""
        one, other = self.segments[-1].header, segment.header
        if not one.same_source(other) or one.last is None or other.first is None:
            return None
        gap = Span(one.span.end, other.span.start)
        if gap.is_empty or _is_bridged(gap, coverage, one):
            return []
        return [gap] if _is_closed(gap, coverage) else None

    def has_room(
        self, segment: YearSegment, gap: list[Span], most_rows: int | None, *, by_day: bool
    ) -> bool:
        """Tell whether the bounds of a member allow ``segment`` in it."""
        rows, header = self.rows + segment.header.rows, segment.header
        first = self.segments[0].header.first or 0
        if by_day and rows > FEW_ROWS and date_of(first) != date_of(header.last or 0):
            return False
        if most_rows is not None and rows > most_rows:
            return False
        return len(self.holes) + len(gap) + len(header.holes) <= MOST_HOLES

    def add(self, segment: YearSegment, gap: list[Span]) -> None:
        """Take in a segment with what lies before it."""
        self.segments.append(segment)
        self.rows += segment.header.rows
        self.holes += [*gap, *segment.header.holes]

    def joined(self) -> YearSegment:
        """Return all as one segment."""
        if len(self.segments) == 1:
            return self.segments[0]
        headers = [segment.header for segment in self.segments]
        table = concat(segment.table() for segment in self.segments)
        header = replace(
            headers[-1],
            seq=max(h.seq for h in headers),
            fetched_at=max(h.fetched_at for h in headers),
            holes=tuple(self.holes),
        )
        span = Span(headers[0].span.start, max(h.span.end for h in headers))
        return YearSegment(replace(_header_of(header, table, span), holes=header.holes), rows=table)


def _is_bridged(gap: Span, coverage: Coverage, header: Header) -> bool:
    """Tell whether the same vendor was asked for the stamps between two members."""
    mine = (header.state, header.vendor, header.kind, header.basis)
    return any(
        item.span.start <= gap.start
        and gap.end <= item.span.end
        and mine == (item.state, item.vendor, item.kind, item.basis)
        for item in coverage.within(gap)
    )


def _is_closed(gap: Span, coverage: Coverage) -> bool:
    """Tell whether no bar is expected between two members."""
    closed = [c.span for c in coverage.within(gap) if c.state == "empty" and c.reason == CLOSED]
    return not subtract([gap], closed)


# --- bases -------------------------------------------------------------------------------

# Bases that say the same of their bars are made one, so that these may stand in one member and one
# stretch: what is fetched tonight knows of splits up to tonight, and so each night had a basis of
# its own. Bars are never brought to another basis here.

# So many days may lie between a bar and its fetch for the two to be taken for one date: over years
# a split that no vendor has told of yet is not unlikely enough.
_MOST_DAYS = 14


def unified(
    segments: Sequence[YearSegment], coverage: Coverage, lane: SeriesFiles
) -> tuple[list[YearSegment], Coverage]:
    """Return both with the least that the bases must say.

    A member's date is left out where it is not after its first bar, or where it is known that there
    was no split and no dividend between them. Stretches of the coverage that are of a later date
    than the bars in them, because these came equal later, get the basis of their bars where that is
    known likewise.
    """
    dated = [c.basis.as_of for c in coverage] + [s.header.basis.as_of for s in segments]
    if not any(dated):
        return list(segments), coverage
    same = _Same(lane.actions(), lane.key.timeframe.is_intraday)
    segments = [replace(s, header=same.without_date(s.header)) for s in segments]
    return segments, coverage.overlaid(same.of_bars(coverage, (s.header for s in segments)))


@dataclass(frozen=True)
class _Same:
    """Says which bases are the same, by the splits and dividends of ``book``."""

    book: ActionBook
    intraday: bool

    def without_date(self, header: Header) -> Header:
        """Return the header; its basis without a date where that says nothing more of its bars."""
        first, session = header.first or 0, header.kind.session
        basis = header.basis.of_bars(first, session, intraday=self.intraday)
        had = self._day_before(first)
        if basis.as_of is not None and self._is_quiet(had, basis.as_of, settled=True):
            basis = Basis(basis.adjustment)
        return header if basis == header.basis else replace(header, basis=basis)

    def of_bars(self, coverage: Coverage, headers: Iterable[Header]) -> list[Covered]:
        """Return the stretches that say no more than the member in them, with the member's basis."""
        return [
            replace(part, basis=header.basis)
            for header in headers
            for part in coverage.within(header.span)
            if part.state != "empty" and part.vendor == header.vendor and self._says(part, header)
        ]

    def _says(self, part: Covered, header: Header) -> bool:
        """Tell whether a stretch says nothing more than the member in it, but says it otherwise."""
        mine, own = part.basis, header.basis
        if mine == own or mine.adjustment != own.adjustment or mine.as_of is None:
            return False
        first = max(part.span.start, header.first or 0)
        if mine.of_bars(first, header.kind.session, intraday=self.intraday) == own:
            return True
        # The bars are as they were: of a split told late it is not known whether they have it.
        return self._is_quiet(own.as_of or self._day_before(first), mine.as_of, settled=False)

    def _day_before(self, stamp_ms: int) -> date:
        """Return the last day on which a split is surely in a bar of this stamp."""
        return date_of(stamp_ms) - timedelta(days=int(self.intraday))

    def _is_quiet(self, day: date, until: date, *, settled: bool) -> bool:
        """Tell whether it is known that nothing happened behind ``day``, up to ``until``."""
        days = Span(day_ms(day) + DAY_MS, day_ms(until) + DAY_MS)
        return days.end - days.start <= _MOST_DAYS * DAY_MS and self.book.is_quiet(
            days, settled=settled
        )
