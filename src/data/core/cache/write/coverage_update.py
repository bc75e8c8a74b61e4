"""Calculates the effect of a commit on the coverage of a year; nothing is read or written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from operator import attrgetter

import numpy as np

from ...model.identity.kind import Basis, Kind
from ...model.market.bars import BadRow, Stamps, among
from ...model.stored.coverage import (
    FORGOTTEN,
    WITH_BARS,
    Columns,
    Coverage,
    Covered,
    HasBars,
    Stretches,
    stretches,
)
from ...model.stored.reasons import Cause
from ...model.time.instant import NEVER_MS, year_of
from ...model.time.span import (
    Span,
    clipped,
    coalesce,
    subtract,
    touching,
    uncovered,
    year_span,
    years_of,
)
from ..format.gzip_member import MOST_HOLES, Header
from ..values import Commit, CommitPiece

_STATE, _NO_SPAN = attrgetter("state"), Span(0, 0)


@dataclass
class YearChange:
    """One year's part of a commit: bars to store, and coverage changes (marks)."""

    pieces: list[CommitPiece] = field(default_factory=list)
    marks: Stretches[Covered] = field(default_factory=Stretches)
    suspects: list[BadRow] = field(default_factory=list)


def by_year(commit: Commit) -> dict[int, YearChange]:
    """Split a commit's pieces and marks (new coverage) by year; the years are in ascending order."""
    parts: dict[int, YearChange] = {}
    for piece in commit.pieces:
        piece = replace(piece, holes=tuple(coalesce(piece.holes))) if piece.holes else piece
        for year in years_of(piece.span):
            part = _clip(piece, year_span(year))
            parts.setdefault(year, YearChange()).pieces += _split_by_holes(part)
    if commit.marks:
        marks = stretches(commit.marks).columns
        marks = marks.take(marks.starts < marks.ends)
        start, end = marks.starts.min(initial=NEVER_MS), marks.ends.max(initial=-NEVER_MS)
        reach = Span(int(start), int(end))
        for year in years_of(reach):
            starts, ends = np.clip(marks[:2], *year_span(year))
            marks_of_year = marks._replace(starts=starts, ends=ends).take(starts < ends)
            if len(marks_of_year.starts):
                parts.setdefault(year, YearChange()).marks = Stretches.of(marks_of_year)
    whole, last = Span(0, 0), YearChange()  # most rows are in the same year as the previous row
    for suspect in commit.suspects:
        stamp = suspect.bar.stamp_ms
        if not whole.start <= stamp < whole.end:
            year = year_of(stamp)
            whole, last = year_span(year), parts.setdefault(year, YearChange())
        last.suspects.append(suspect)
    return dict(sorted(parts.items()))


def marks_after_repair(part: YearChange, covered: Coverage) -> Stretches[Covered]:
    """Return a commit's marks (coverage changes) that are still valid after the year was repaired.

    The commit was prepared before the repair. A mark that casts doubt on bars that no longer exist
    must be dropped, because it would otherwise count as an answer.
    """
    spans = [entry.span for entry in covered if entry.state in WITH_BARS]
    spans += [piece.span for piece in part.pieces]
    spans += [Span(s.bar.stamp_ms, s.bar.stamp_ms + 1) for s in part.suspects]
    spans = coalesce(spans)
    valid: list[Covered] = []
    for mark in part.marks:
        parts = clipped(spans, mark.span) if mark.state == "suspect" else [mark.span]
        valid += (replace(mark, span=span) for span in parts)
    return Stretches(valid)


def _clip(piece: CommitPiece, span: Span) -> CommitPiece:
    if not piece.holes and piece.span.clip(span) == piece.span:
        return piece
    return replace(
        piece,
        table=piece.table.within(span),
        span=piece.span.clip(span),
        holes=tuple(clipped(piece.holes, span)),
    )


def _split_by_holes(piece: CommitPiece) -> list[CommitPiece]:
    """Split a piece of a commit if it has more gaps than one gzip member can list."""
    if len(piece.holes) <= MOST_HOLES:
        return [piece]
    cuts = [h.start for h in piece.holes[MOST_HOLES::MOST_HOLES]]
    edges = [piece.span.start, *cuts, piece.span.end]
    return [_clip(piece, Span(a, b)) for a, b in pairwise(edges)]


def around(piece: CommitPiece, stamps: Stamps) -> list[CommitPiece]:
    """Split a piece of a commit at the stored bars that it leaves unchanged; return the parts between.

    Stored bars with the timestamps of the piece's own bars are replaced and do not split it.
    """
    others = stamps[~among(stamps, piece.table.stamps)].tolist()
    excluded = [Span(stamp, stamp + 1) for stamp in others]
    return [_clip(piece, span) for span in subtract([piece.span], excluded)]


# --- coverage ------------------------------------------------------------------------------


def _after_answers(
    coverage: Coverage, answers: Iterable[tuple[Covered, Iterable[Span]]]
) -> Coverage:
    """Return the coverage after adding new answers; gaps in an answer count as not requested."""
    marks = [
        Columns(
            edges[:-1],
            edges[1:],
            np.arange(len(edges) - 1, dtype=np.int64) % 2,
            (whole.at(_NO_SPAN), FORGOTTEN),
        )
        for whole, holes in answers
        for span in (whole.span,)
        for edges in (
            np.array([span.start, *chain(*clipped(coalesce(holes), span)), span.end], np.int64),
        )
    ]
    return coverage.revised(
        Stretches.of(Columns.chained(marks)),
        lambda _before, fresh, _has_bars: None if fresh == FORGOTTEN else fresh,
    )


def after_pieces(coverage: Coverage, pieces: Iterable[CommitPiece]) -> Coverage:
    """Return the coverage after storing a commit's pieces; gaps in them count as not requested."""
    uncut = (
        (
            Covered(
                piece.span,
                piece.state,
                piece.vendor,
                piece.kind,
                piece.basis,
                piece.fetched_at,
                splices=piece.splices,
            ),
            piece.holes,
        )
        for piece in pieces
    )
    return _after_answers(coverage, uncut)


def after_members(coverage: Coverage, headers: Iterable[Header]) -> Coverage:
    """Return the coverage extended by the gzip members of a year file, in file order."""
    uncut = (
        (
            Covered(
                header.span,
                "final" if header.state == "final" else "provisional",
                header.vendor,
                header.kind,
                header.basis,
                header.fetched_at,
            ),
            header.holes,
        )
        for header in headers
    )
    return _after_answers(coverage, uncut)


def after_marks(coverage: Coverage, marks: Iterable[Covered], has_bars: HasBars) -> Coverage:
    """Apply marks (coverage changes without new bars), and return the new coverage.

    ``final`` and ``provisional`` marks mean that stored bars were received again unchanged; they
    renew entries with bars, and change nothing elsewhere. ``suspect`` keeps the known source of
    stored bars; if an entry has only bad rows, the later rows and their vendor are recorded,
    unless the mark is a verdict (``grave:``). ``empty`` never covers a stored bar. Stored bars take
    the state, fetch time, reason, expiry and basis from a mark; vendor, kind and everything else
    stay unchanged.

    Args:
        coverage: Coverage before the marks.
        marks: Marks in the order in which they are applied.
        has_bars: Function that returns which spans have a stored bar.
    """
    return coverage.revised(stretches(marks), _entry_after_mark, has_bars)


def _entry_after_mark(before: Covered | None, mark: Covered, has_bars: bool) -> Covered | None:
    """Return the coverage entry that results from applying a mark (coverage without new bars), or None.

    A mark for an empty span leaves existing bars as they are; others change the bars' state.
    """
    with_bars = before is not None and before.state in WITH_BARS
    if mark.state == "empty":
        # As stored: an empty stretch has no kind.
        return before if with_bars and has_bars else mark.having(kind=Kind(), basis=Basis())
    if before is None or not with_bars or (before.is_of_rejected_row and not has_bars):
        # A verdict on bars does not concern rejected rows, which keep their basis.
        is_kept = mark.state != "suspect" or (with_bars and Cause.GRAVE in mark.cause)
        return before if is_kept else mark
    return before.having(
        state=mark.state,
        fetched_at=_fetched_at(before, mark),
        reason=mark.reason,
        expires=mark.expires,
        basis=_basis_after(before, mark),
    )


def _fetched_at(entry: Covered, mark: Covered) -> int:
    """Return the later of the two fetch times; the time of a ``suspect`` mark takes precedence."""
    is_doubt = mark.state == "suspect" and mark.fetched_at
    return mark.fetched_at if is_doubt else max(entry.fetched_at, mark.fetched_at)


def _basis_after(entry: Covered, mark: Covered) -> Basis:
    """Return an entry's basis after a mark (coverage change): the later one if the adjustments agree."""
    old, new = entry.basis, mark.basis
    if mark.state == "suspect" or old.adjustment != new.adjustment or new.as_of is None:
        return old
    return new if old.as_of is None or old.as_of < new.as_of else old


def carried(old: Coverage | None, rebuilt: Coverage) -> Coverage:
    """Return ``rebuilt``, with the empty and suspect entries of ``old`` added.

    Coverage that was rebuilt from the members of a file lacks these entries, because only the
    metadata contains them.
    """
    if old is None:
        return rebuilt
    old, renewed = old.opened(), coalesce(entry.span for entry in rebuilt)
    empties = [
        replace(entry, span=span)
        for entry in old
        if entry.state == "empty"
        for span in uncovered(entry.span, touching(renewed, entry.span))
    ]
    doubts = [
        inside
        for entry in old
        if entry.state == "suspect"
        for span in touching(renewed, entry.span)
        if (inside := entry.clip(span)) is not None
    ]
    return after_marks(rebuilt.overlaid(empties), doubts, lambda edges: np.ones(len(edges), bool))


def takes_trust(before: Coverage, after: Coverage) -> bool:
    """Return whether a change withdraws trust in bars, or keeps trust withdrawn.

    A document with such a change must not be lost, because coverage rebuilt from the file's members
    would trust these bars again.
    """
    if "suspect" in map(_STATE, chain(before, after)):
        return True
    same = set(map(id, after))  # usually nearly all of it
    changed = [entry.span for entry in before if entry.state == "final" and id(entry) not in same]
    return any(
        subtract([span], (entry.span for entry in after.touching(span) if entry.state == "final"))
        for span in changed
    )
