"""A pinned vendor's bars that stand in the default lane need not be asked again."""

from __future__ import annotations

from dataclasses import replace

from ..cache.store import BarStore, Commit, Piece
from ..model.coverage import Covered
from ..model.series import SeriesKey
from ..model.span import Span, gaps, intersect, subtract
from .keeping import Keeper
from .terms import CLOSED, UNEXPECTED
from .work import Work


def adopt(store: BarStore, keeper: Keeper, work: Work, wanted: Span) -> None:
    """Copy what the pinned vendor supplied to the default lane into its own, where it lacks it.

    Only final bars are taken, and those off the calendar, for which alone no vendor would be asked;
    as they are: with their basis and the time they were fetched. Those in which something was made
    good are not what the vendor sent.
    """
    default = SeriesKey(work.key.symbol, work.key.timeframe)
    lacking = gaps(
        wanted, [c.span for c in keeper.coverage(work).within(wanted) if not is_unasked(c)]
    )
    if not lacking or default == work.key:
        return
    theirs = [
        part
        for part in store.view(default).coverage.within(wanted)
        if (part.state == "final" or part.reason == UNEXPECTED)
        and part.vendor == work.query.provider
        and not part.is_rescaled
        # What was converted for the default lane is none of the vendor's own.
        and part.kind.agrees(work.lane.kind)
    ]
    spans = intersect(lacking, [part.span for part in theirs])
    if not spans:
        return
    commits = [_copied(store, default, part, intersect([part.span], spans)) for part in theirs]
    pieces = tuple(piece for commit in commits for piece in commit.pieces)
    marks = tuple(mark for commit in commits for mark in commit.marks)
    keeper.commit(work, Commit(pieces, marks))


def is_unasked(part: Covered) -> bool:
    """Tell whether a stretch is empty by the calendar alone: no vendor was asked for it."""
    return part.state == "empty" and part.reason == CLOSED and not part.vendor


def _copied(store: BarStore, source: SeriesKey, part: Covered, spans: list[Span]) -> Commit:
    pieces: list[Piece] = []
    for span in spans:
        rows, _ = store.read(source, span)
        if len(rows):
            pieces.append(
                Piece(rows, span, part.vendor, part.fetched_at, part.kind, part.basis, "final")
            )
    bare = subtract(spans, (piece.span for piece in pieces))
    marks = [replace(part, span=span, state="empty", reason=CLOSED) for span in bare]
    if part.state == "suspect":
        marks += [replace(part, span=piece.span) for piece in pieces]
    return Commit(tuple(pieces), tuple(marks))
