"""Bars that other vendors supplied beside a stretch: who is next to it, and what of it to compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...cache.store import BarStore
from ...calendars.gaps import BarGrid
from ...model.bars import BarTable, inside
from ...model.coverage import Coverage, Covered
from ...model.instant import DAY_MS
from ...model.span import Span
from ...prices.splice import COMPARED
from ..ingest.writer import StoreWriter, laid_over
from ..selection.candidate import Candidate
from .state import FetchState
from .unknown_kind import is_older

# Bars further away than so many expected ones are no neighbours.
_FAR = 3 * COMPARED
_SHORTEST_LOOK_MS = 14 * DAY_MS


class Side(NamedTuple):
    """What other vendors supplied on one side of a stretch.

    Attributes:
        vendor: whose bars are next to it.
        span: what to ask for beside the stretch; empty where nothing is final.
        rows, parts: the bars to compare with, as stored, and where they come from.
        is_later: whether they lie behind the stretch.
    """

    vendor: str
    span: Span
    rows: BarTable
    parts: Coverage
    is_later: bool


class Neighbours:
    """Finds what stands beside a stretch. Thread-safe: it keeps no state."""

    def __init__(self, store: BarStore, writer: StoreWriter) -> None:
        self._store = store
        self._writer = writer

    def beside(self, work: FetchState, candidate: Candidate, span: Span) -> tuple[Side, ...]:
        """Return what other vendors supplied beside ``span``; a pinned vendor stands alone."""
        if work.query.provider is not None:
            return ()
        parts = self._writer.coverage(work)
        if not any(c.parts or (c.state != "empty" and _is_foreign(c, candidate)) for c in parts):
            return ()
        found = (self._side(work, candidate, span, is_later=later) for later in (False, True))
        return tuple(side for side in found if side is not None)

    def _side(
        self, work: FetchState, candidate: Candidate, span: Span, *, is_later: bool
    ) -> Side | None:
        edge = span.end if is_later else span.start
        rows, parts = self.stored(work, _look(work.grid, edge, is_later=is_later))
        if not len(rows):
            return None
        nearest = _at(parts, int(rows.stamps[0 if is_later else -1]))
        if nearest is None or not _is_foreign(nearest, candidate):
            return None
        final = [c.span for c in parts if c.state == "final" and _is_foreign(c, candidate)]
        theirs = rows.take(inside(rows.stamps, final))
        theirs = theirs.take(slice(COMPARED) if is_later else slice(-COMPARED, None))
        reach = Span(edge, edge)
        if len(theirs) and is_later:
            reach = Span(edge, work.grid.next_open(int(theirs.stamps[-1]) + 1))
        elif len(theirs):
            reach = Span(int(theirs.stamps[0]), edge)
        return Side(nearest.vendor, reach, theirs, parts, is_later)

    def stored(self, work: FetchState, span: Span) -> tuple[BarTable, Coverage]:
        """Return what is stored, with what the disk refused in this request."""
        rows, parts = self._store.read(work.key, span)
        for commit in work.unstored:
            rows, parts = laid_over(rows, parts, commit)
        return rows.within(span), parts.within(span)


def widened(span: Span, sides: Sequence[Side]) -> Span:
    """Return ``span`` with the bars beside it that are to be compared."""
    return Span(
        min([span.start, *(s.span.start for s in sides)]),
        max([span.end, *(s.span.end for s in sides)]),
    )


def _is_foreign(part: Covered, candidate: Candidate) -> bool:
    """Tell whether a candidate's bars beside these must be compared with them.

    So must its own that it did not send like this. Bars of older tools have a rule of their own.
    """
    if is_older(part) and candidate.adjustment != "unknown":
        return False
    ours = candidate.capabilities is not None
    name = candidate.downloader.name if ours else candidate.name
    return part.state != "empty" and (part.vendor != name or part.is_rescaled)


def _look(grid: BarGrid, edge: int, *, is_later: bool) -> Span:
    """Return the stamps on one side of ``edge`` in which neighbours are looked for."""
    step = grid.timeframe.longest_ms
    far = max(_SHORTEST_LOOK_MS, 2 * _FAR * step)
    if is_later:
        stamps = grid.opens(Span(edge, edge + far))
        return Span(edge, int(stamps[_FAR]) if len(stamps) > _FAR else edge + far)
    stamps = grid.opens(Span(edge - far, edge))
    return Span(int(stamps[-_FAR]) if len(stamps) > _FAR else edge - far, edge)


def _at(parts: Coverage, stamp: int) -> Covered | None:
    return next((part for part in parts if stamp in part.span), None)
