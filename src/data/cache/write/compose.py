"""Segments turned into the bytes of a year file, or of what is appended to one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ...model.coverage import Coverage
from ...model.kind import Basis, Kind
from ...model.series import SeriesKey
from ...model.span import Span
from ..format.csv_rows import ALL_COLUMNS, BASE_COLUMNS, encode_rows, header_line
from ..format.gzip_member import Header, Member, build, file_id
from ..format.year_document import YearState
from ..values import CommitPiece
from .coverage_update import year_span
from .segments import YearSegment, of_piece


@dataclass(frozen=True)
class Target:
    """The file that is written.

    Attributes:
        key, year: which one.
        columns: its value columns.
        generation: of the commit.
    """

    key: SeriesKey
    year: int
    columns: tuple[str, ...]
    generation: int

    @property
    def spelled(self) -> dict[str, object]:
        """What the first member says in words."""
        return {
            "symbol": self.key.symbol,
            "timeframe": self.key.timeframe.label,
            "lane": self.key.lane_label,
            "year": self.year,
            "columns": list(self.columns),
        }


def columns_for(segments: Iterable[YearSegment]) -> tuple[str, ...]:
    """Return the value columns that hold all bars."""
    for segment in segments:
        if segment.rows is None:
            wide = len(segment.columns) > len(BASE_COLUMNS)
        else:
            wide = segment.rows.adj_close is not None
        if wide:
            return ALL_COLUMNS
    return BASE_COLUMNS


def compose(
    segments: Sequence[YearSegment], stored: Sequence[Member], target: Target
) -> list[Member]:
    """Return the members of a new file.

    Members that come before the first change are taken over byte for byte, later ones keep their
    compressed body under a new header where they can.

    Args:
        segments: ascending; none makes a file with a header line and no bars.
        stored: the members of the file it replaces.
        target: the file.
    """
    members: list[Member] = []
    for place, segment in enumerate(segments):
        if segment.columns == target.columns and _is_unchanged(segment, place, members, stored):
            members.append(stored[place])
        else:
            members.append(_written(segment, members, target))
    return members or [_without_bars(target)]


def _is_unchanged(
    segment: YearSegment, place: int, before: list[Member], stored: Sequence[Member]
) -> bool:
    """Tell whether this member and all before it stay as they are."""
    if place >= len(stored) or (before and before[-1] is not stored[place - 1]):
        return False
    return segment.member is stored[place] and segment.header == stored[place].header


def _written(segment: YearSegment, before: list[Member], target: Target) -> Member:
    header = replace(
        segment.header,
        seq=max(segment.header.seq, before[-1].header.seq) if before else segment.header.seq,
        prev=before[-1].digest[:16] if before else None,
        spelled={} if before else target.spelled,
    )
    body = segment.member
    if body is not None and segment.at_start == (not before) and segment.columns == target.columns:
        return body.with_header(header)
    text = segment.lines if segment.columns == target.columns else None
    text = text or encode_rows(segment.table(), target.columns)
    return build(header, text if before else header_line(target.columns) + text)


def _without_bars(target: Target) -> Member:
    start = year_span(target.year).start
    header = Header(
        id=file_id(target.key, target.year),
        seq=target.generation,
        rows=0,
        first=None,
        last=None,
        span=Span(start, start),
        vendor="",
        fetched_at=0,
        kind=Kind(),
        basis=Basis(),
        state="final",
        spelled=target.spelled,
    )
    return build(header, header_line(target.columns))


def appended(pieces: Iterable[CommitPiece], state: YearState, target: Target) -> list[Member]:
    """Return the members to add behind a file in ``state``, one for each piece with bars."""
    assert state.head is not None
    prev, members = state.head[:16], []
    for piece in pieces:
        segment = of_piece(piece, file_id(target.key, target.year), target.generation)
        header = replace(segment.header, prev=prev)
        members.append(build(header, encode_rows(piece.table, target.columns)))
        prev = members[-1].digest[:16]
    return members


def state_of(
    members: Sequence[Member], at: int, before: YearState, target: Target, coverage: Coverage
) -> YearState:
    """Return what the metadata say once ``members`` stand in the file from offset ``at``.

    From offset 0 the members are the whole file, and ``before`` is a state without any.
    """
    with_bars = [m.header for m in members if m.header.rows]
    first = before.first if before.first is not None else with_bars[0].first if with_bars else None
    end = at + sum(len(m.raw) for m in members)
    return replace(
        before,
        generation=target.generation,
        size=end,
        rows=before.rows + sum(h.rows for h in with_bars),
        first=first,
        last=with_bars[-1].last if with_bars else before.last,
        head=members[-1].digest,
        head_at=end - len(members[-1].raw),
        members=before.members + len(members),
        open=before.open + len(members) if at else 0,
        columns=target.columns,
        coverage=coverage,
    )
