"""A pinned vendor's bars that stand in the default lane need not be asked again."""

from __future__ import annotations

from dataclasses import replace

from ..cache.store import BarStore, Commit, Piece
from ..model.bars import BarTable
from ..model.coverage import Coverage, Covered
from ..model.series import SeriesKey
from ..model.span import Span, gaps, intersect
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
    theirs = _theirs(store.view(default).coverage, wanted, work)
    commits = []
    for span in intersect(lacking, [part.span for part in theirs]):
        # Bars and what is known of them by one look: a repair on the way takes from both.
        rows, known = store.read(default, span)
        commits += [_copied(rows, part) for part in _theirs(known, span, work)]
    if commits:
        pieces = tuple(piece for commit in commits for piece in commit.pieces)
        marks = tuple(mark for commit in commits for mark in commit.marks)
        keeper.commit(work, Commit(pieces, marks))


def _theirs(coverage: Coverage, span: Span, work: Work) -> list[Covered]:
    """Return what the pinned vendor sent as it is, within ``span``."""
    return [
        part
        for part in coverage.within(span)
        if (part.state == "final" or part.reason == UNEXPECTED)
        and part.vendor == work.query.provider
        and not part.is_rescaled
        # What was converted for the default lane is none of the vendor's own.
        and part.kind.agrees(work.lane.kind)
    ]


def is_unasked(part: Covered) -> bool:
    """Tell whether a stretch is empty by the calendar alone: no vendor was asked for it."""
    return part.state == "empty" and part.reason == CLOSED and not part.vendor


def _copied(table: BarTable, part: Covered) -> Commit:
    rows = table.within(part.span)
    if not len(rows):
        return Commit(marks=(replace(part, state="empty", reason=CLOSED),))
    piece = Piece(rows, part.span, part.vendor, part.fetched_at, part.kind, part.basis, "final")
    return Commit((piece,), (part,) if part.state == "suspect" else ())
