"""The bars of a year as a list of segments, from which a new file is composed.

A segment becomes one member of the file: a header and its bars, which are either the unchanged
compressed body of a stored member or rows still to be written.

Words for bars in a row:

- *piece*: bars that a commit stores for a span (:class:`~..values.CommitPiece`);
- *part*: one year's share of a commit (:class:`~.coverage_update.YearChange`); in this module, the
  share of a segment that is inside or outside a span;
- *segment*: bars of a file that is being composed (:class:`YearSegment`);
- *member*: bars of a stored file, compressed together (:class:`~..format.gzip_member.Member`);
- *span*: a range of time, with or without bars; *stretch*: a span in the coverage, with its source.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise

import numpy as np

from ...model.identity.kind import Basis
from ...model.market.bars import BarTable, among, concat, merge
from ...model.stored.coverage import WITH_BARS, Coverage, Covered
from ...model.stored.reasons import CLOSED
from ...model.time.edges import difference, edges_of, meets
from ...model.time.instant import DAY_MS, date_of, day_ms
from ...model.time.span import Span, clipped, coalesce, intersect, subtract, touching
from ..actions import ActionBook
from ..format.csv_rows import header_line
from ..format.gzip_member import MOST_HOLES, Header, Member
from ..lane_files import LaneFiles
from ..read.year_file import YearFile, rows_of
from ..values import CommitPiece

# Number of bars up to which bars of several days share a member. Its header is small by comparison,
# and rewriting the bars takes no time.
FEW_ROWS = 1_024
# For fewer bars than this the text is written again, which takes less time than inflating it.
ROWS_WORTH_FINDING = 10_000


@dataclass(frozen=True)
class YearSegment:
    """Bars that will become one gzip member of a year file that is about to be written.

    Attributes:
        header: Header to write; the link to the previous member is added when it is written.
        member: Stored member whose body is kept, or None.
        rows: Bars, or None if only the member's body contains them.
        at_start: Whether the member was the first in its file, so that its body begins with the CSV
            header.
        columns: Columns of the member's file.
        lines: Text of the bars as stored; None if it is not available.
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
        """Return the part of the segment inside ``span``, as rows to write; None if it has no bars."""
        whole = self.table()
        table = whole.within(span)
        if not len(table):
            return None
        clipped = self.header.span.clip(span)
        holes = tuple(intersect([clipped], self.header.holes))
        header = replace(_header_of(self.header, table, clipped), holes=holes)
        return YearSegment(
            header, rows=table, columns=self.columns, lines=self._lines(whole, table)
        )

    def _lines(self, whole: BarTable, table: BarTable) -> bytes | None:
        """Return the stored text of ``table``, or None if formatting it again is faster than finding it."""
        if len(table) < ROWS_WORTH_FINDING:
            return None
        if self.lines is not None:
            text, skip = self.lines, 0
        elif self.member is not None:
            text, skip = self.member.text(), len(header_line(self.columns)) if self.at_start else 0
        else:
            return None
        first = int(np.searchsorted(whole.stamps, table.stamps[0]))
        start = line_of(text, whole, first) if first else skip
        lines = text[start : line_of(text, whole, first + len(table))]
        return lines if lines.count(b"\n") == len(table) else None


def line_of(text: bytes, whole: BarTable, row: int) -> int:
    """Return the offset in ``text`` of a row's line; the row must not be the first one.

    For the row after the last one, the result is the end of the text.
    """
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
        spelled={},
    )


def of_file(file: YearFile) -> list[YearSegment]:
    """Return the segments of a stored file; members without bars are omitted."""
    return [
        YearSegment(member.header, member, at_start=index == 0, columns=file.state.columns)
        for index, member in enumerate(file.members)
        if member.header.rows
    ]


def of_piece(piece: CommitPiece, identity: str, generation: int) -> YearSegment:
    """Return a new segment with the bars in a piece of a commit."""
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


# --- the effect of a commit ----------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """The effect of a commit on the stored bars.

    Attributes:
        added, changed, removed: Numbers of bars.
        withdrawn: Removed bars.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    withdrawn: BarTable = BarTable.empty()


def with_pieces(
    segments: list[YearSegment], pieces: Iterable[CommitPiece], identity: str, generation: int
) -> tuple[list[YearSegment], Change]:
    """Apply new answers to segments: each piece's bars replace all others in the piece's span."""
    new: list[YearSegment] = []
    end, pieces = 0, list(pieces)
    for piece in pieces:
        if piece.span.start < end:  # overlaps an earlier piece
            new = [part for s in new for part in _parts_outside(s, piece.span)]
        end = max(end, piece.span.end)
        if len(piece.table):
            new.append(of_piece(piece, identity, generation))
    answered = coalesce(piece.span for piece in pieces)
    after = [part for segment in segments for part in _outside_all(segment, answered)] + new
    after.sort(key=lambda s: s.header.first or 0)
    return after, _change(_rows_in(segments, answered), _rows_in(after, answered))


def _outside_all(segment: YearSegment, answered: Sequence[Span]) -> list[YearSegment]:
    """Return the parts of a segment that are outside all spans in ``answered`` (ascending, disjoint)."""
    parts = [segment]
    for span in touching(answered, segment.header.span):
        parts = [part for left in parts for part in _parts_outside(left, span)]
    return parts


def _parts_outside(segment: YearSegment, span: Span) -> list[YearSegment]:
    """Return the parts of a segment outside ``span`` that have bars."""
    header = segment.header
    if not header.span.overlaps(span) or header.first is None or header.last is None:
        return [segment]
    parts = subtract([header.span], [span])
    holding = [p for p in parts if p.start <= header.first and header.last < p.end]
    if holding:
        holes = tuple(intersect(holding, header.holes))
        return [replace(segment, header=replace(header, span=holding[0], holes=holes))]
    return [part for p in parts if (part := segment.part(p)) is not None]


def _rows_in(segments: Iterable[YearSegment], spans: Sequence[Span]) -> BarTable:
    """Return the bars inside ``spans``, which are ascending and disjoint."""
    tables: list[BarTable] = []
    for segment in segments:
        header = segment.header
        inside = clipped(spans, Span(header.first or 0, (header.last or 0) + 1))
        table = segment.table() if inside else BarTable.empty()
        tables += (table.within(span) for span in inside)
    return merge(BarTable.empty(), concat(tables))


def _change(old: BarTable, new: BarTable) -> Change:
    is_kept, is_old = among(old.stamps, new.stamps), among(new.stamps, old.stamps)
    changed = _differences(old.take(is_kept), new.take(is_old))
    removed = old.take(~is_kept)
    return Change(int((~is_old).sum()), changed, len(removed), removed)


def _differences(first: BarTable, second: BarTable) -> int:
    """Count the rows with equal timestamps in which a value differs; missing values are equal."""
    differs = np.zeros(len(first), dtype=bool)
    pairs = list(zip(first.values()[:5], second.values()[:5], strict=True))
    if first.adj_close is not None and second.adj_close is not None:
        pairs.append((first.adj_close, second.adj_close))
    for left, right in pairs:
        differs |= (left != right) & ~(np.isnan(left) & np.isnan(right))
    return int(differs.sum())


def split_by_state(segments: Iterable[YearSegment], coverage: Coverage) -> list[YearSegment]:
    """Split segments where necessary, and set each one's state to that of its bars in the coverage."""
    return [part for segment in segments for part in _split_by_state(segment, coverage)]


def _split_by_state(segment: YearSegment, coverage: Coverage) -> list[YearSegment]:
    header = segment.header
    extent = Span(header.first or 0, (header.last or 0) + 1)
    covered = coverage.within(extent).only(lambda entry: entry.state in WITH_BARS)
    if {_state(entry) for entry in covered.sources} <= {header.state}:
        return [segment]
    # Coverage in which the member has no bar does not matter.
    visible = difference(edges_of([extent]), edges_of(header.holes))
    if not meets(covered.where(lambda entry: _state(entry) != header.state), visible).any():
        return [segment]
    covered = Coverage.of(covered.columns.take(meets(covered.columns.edges, visible)))
    states = {_state(entry) for entry in covered.sources}
    if len(states) == 1:
        fetched = max(header.fetched_at, *(entry.fetched_at for entry in covered.sources))
        return [replace(segment, header=replace(header, state=states.pop(), fetched_at=fetched))]
    edges = [header.span.start, *covered.columns.starts[1:].tolist(), header.span.end]
    parts = (segment.part(Span(a, b)) for a, b in pairwise(edges))
    return [one for part in parts if part is not None for one in _split_by_state(part, coverage)]


def _state(entry: Covered) -> str:
    """Return the state to write for bars with this coverage: ``final``, or else ``provisional``."""
    return "final" if entry.state == "final" else "provisional"


# --- compaction ----------------------------------------------------------------------------


def compacted(
    segments: Iterable[YearSegment],
    coverage: Coverage,
    *,
    by_day: bool,
    most_rows: int | None = None,
) -> list[YearSegment]:
    """Return the segments, with adjacent segments joined if they are equivalent.

    Args:
        segments: Segments, ascending.
        coverage: Coverage of the year, which shows whether spans with no bar between them belong
            together.
        by_day: Whether to join bars on different UTC dates only up to about a thousand bars, so
            that a long year is not recompressed every day.
        most_rows: Maximum number of bars in one segment; None for no limit.
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
    """A group of segments that are joined into one.

    Attributes:
        segments: Segments, ascending.
        rows: Total number of rows.
        holes: Gaps in the segments, and the hours between them that were not requested from any
            vendor.
    """

    segments: list[YearSegment]
    rows: int
    holes: list[Span]

    def gap(self, segment: YearSegment, coverage: Coverage) -> list[Span] | None:
        """Return a list with the gap before ``segment``, if any; None if the segment cannot be joined."""
        before, after = self.segments[-1].header, segment.header
        if not before.same_source(after) or before.last is None or after.first is None:
            return None
        gap = Span(before.span.end, after.span.start)
        if gap.is_empty or _is_bridged(gap, coverage, before):
            return []
        return [gap] if _is_closed(gap, coverage) else None

    def has_room(
        self, segment: YearSegment, gap: list[Span], most_rows: int | None, *, by_day: bool
    ) -> bool:
        """Return whether the group with ``segment`` added stays within the limits of one gzip member."""
        rows, header = self.rows + segment.header.rows, segment.header
        first = self.segments[0].header.first or 0
        if by_day and rows > FEW_ROWS and date_of(first) != date_of(header.last or 0):
            return False
        if most_rows is not None and rows > most_rows:
            return False
        return len(self.holes) + len(gap) + len(header.holes) <= MOST_HOLES

    def add(self, segment: YearSegment, gap: list[Span]) -> None:
        """Add a segment and the gap before it."""
        self.segments.append(segment)
        self.rows += segment.header.rows
        self.holes += [*gap, *segment.header.holes]

    def joined(self) -> YearSegment:
        """Return the group's segments joined into one."""
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
    """Return whether a single coverage entry that agrees with ``header`` spans a gap.

    The two agree if vendor, kind, basis and state are the same.
    """
    source = (header.state, header.vendor, header.kind, header.basis)
    return any(
        entry.span.start <= gap.start
        and gap.end <= entry.span.end
        and source == (entry.state, entry.vendor, entry.kind, entry.basis)
        for entry in coverage.within(gap)
    )


def _is_closed(gap: Span, coverage: Coverage) -> bool:
    """Return whether the market was closed during the whole gap between two gzip members."""
    closed = [c.span for c in coverage.within(gap) if c.state == "empty" and c.reason == CLOSED]
    return not subtract([gap], closed)


# --- bases -------------------------------------------------------------------------------

# Bases that are equivalent for their bars are unified, so that these may share a member and a
# coverage entry. Otherwise each night would have a basis of its own, because data fetched tonight
# includes splits up to tonight. Bars are not converted to another basis here.

# Maximum number of days between a bar and its fetch for which the two count as one date: over
# several years, a split that no vendor has reported yet is too likely.
_MOST_DAYS = 14


def unified(
    segments: Sequence[YearSegment], coverage: Coverage, lane: LaneFiles
) -> tuple[list[YearSegment], Coverage]:
    """Return segments and coverage with as few different bases as possible.

    The date of a segment's basis is omitted if it is not after the first bar, or if it is known
    that there was no split or dividend between that bar and the date. The basis in a coverage entry
    may have a later date than its bars' basis, because the bars were later resent unchanged; the
    entry gets the bars' basis if there was no split or dividend between the two dates.
    """
    dated = [c.basis.as_of for c in coverage.sources] + [s.header.basis.as_of for s in segments]
    if not any(dated):
        return list(segments), coverage
    bases = _EquivalentBases(lane.actions(), lane.key.timeframe.is_intraday)
    segments = [replace(s, header=bases.without_date(s.header)) for s in segments]
    return segments, coverage.overlaid(bases.of_bars(coverage, (s.header for s in segments)))


@dataclass(frozen=True)
class _EquivalentBases:
    """Decides which bases are equivalent, according to the splits and dividends in ``book``."""

    book: ActionBook
    intraday: bool

    def without_date(self, header: Header) -> Header:
        """Return the header, omitting the date of its basis if the date does not affect the bars."""
        first, session = header.first or 0, header.kind.session
        basis = header.basis.of_bars(first, session, intraday=self.intraday)
        previous = self._day_before(first)
        if basis.as_of is not None and self._is_quiet(previous, basis.as_of, settled=True):
            basis = Basis(basis.adjustment)
        return header if basis == header.basis else replace(header, basis=basis)

    def of_bars(self, coverage: Coverage, headers: Iterable[Header]) -> list[Covered]:
        """Replace the basis of each coverage entry with that of its gzip member if the two are equivalent."""
        return [
            replace(old, basis=header.basis)
            for header in headers
            for old in coverage.within(header.span)
            if old.state in WITH_BARS and old.vendor == header.vendor and self._fits(old, header)
        ]

    def _fits(self, entry: Covered, header: Header) -> bool:
        """Return whether a coverage entry's basis is equivalent, but not equal, to its gzip member's."""
        basis, other = entry.basis, header.basis
        if basis == other or basis.adjustment != other.adjustment or basis.as_of is None:
            return False
        first = max(entry.span.start, header.first or 0)
        if basis.of_bars(first, header.kind.session, intraday=self.intraday) == other:
            return True
        # The bars are unchanged, so for a split that is reported late it is unknown whether they
        # include it.
        return self._is_quiet(other.as_of or self._day_before(first), basis.as_of, settled=False)

    def _day_before(self, stamp_ms: int) -> date:
        """Return the last day whose splits are certain to be included in a bar with this timestamp."""
        return date_of(stamp_ms) - timedelta(days=int(self.intraday))

    def _is_quiet(self, day: date, until: date, *, settled: bool) -> bool:
        """Return whether it is known that there were no actions after ``day``, up to ``until``."""
        days = Span(day_ms(day) + DAY_MS, day_ms(until) + DAY_MS)
        return days.end - days.start <= _MOST_DAYS * DAY_MS and self.book.is_quiet(
            days, settled=settled
        )
