"""Bases that say the same of their bars, so that these may stand in one member and one stretch.

What is fetched tonight knows of splits up to tonight, and so each night had a basis of its own.
Nothing is lost where it is left out: bars are never brought to another basis here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from ..model.coverage import Coverage, Covered
from ..model.instant import DAY_MS, date_of, day_ms
from ..model.kind import Basis
from ..model.span import Span
from .actions import ActionBook
from .format.gzip_member import Header
from .write.segments import YearSegment
from .write.series import SeriesFiles

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
        first, session = header.first or 0, header.kind.session
        basis = header.basis.of_bars(first, session, intraday=self.intraday)
        had = self._day_before(first)
        if basis.as_of is not None and self._is_quiet(had, basis.as_of, settled=True):
            basis = Basis(basis.adjustment)
        return header if basis == header.basis else replace(header, basis=basis)

    def of_bars(self, coverage: Coverage, headers: Iterable[Header]) -> list[Covered]:
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
