"""What decides how an answer is stored: its basis, what is held already, and for how long.

Values and small rules; nothing here reads or writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..model.bars import BarTable
from ..model.coverage import CLOSED as CLOSED
from ..model.coverage import Coverage, Covered
from ..model.instant import DAY_MS, HOUR_MS, MINUTE_MS, date_of
from ..model.instrument import Instrument
from ..model.kind import Basis
from ..model.span import Span, coalesce, subtract

if TYPE_CHECKING:
    from ..cache.store import SeriesView
    from ..calendars.gaps import Grid
    from ..model.capabilities import Fetched

BEFORE_FIRST, AFTER_LAST = "before the first bar", "after the last bar"
NO_BAR = "the vendor has no bar"
LOST = "the vendor does not have this bar any more"
FORMING = "forming"
SPOILT = "the vendor now sends something here that cannot be a bar"
UNEXPECTED = "outside the sessions of the market's calendar"
UNVOUCHED = "by our own clock alone, which nothing vouches for"
AHEAD = "fetched at a time that has not come yet: the clock was wrong then, or is now"
# So long is left alone what only our own clock says.
UNVOUCHED_MS = HOUR_MS
# Clocks of machines that share a folder differ by this much without being wrong.
_SKEW_MS = MINUTE_MS
# A hole that was seen once is asked again after so long: one of the last day, and an older one.
_YOUNG_HOLE_MS, _OLD_HOLE_MS = 15 * MINUTE_MS, 6 * HOUR_MS
# Begins the reason of a stretch whose bars the user is warned of.
DOUBTFUL = "doubtful: "


def fetched_ahead(view: SeriesView, now_ms: int) -> list[Covered]:
    """Return what a series learned at a time that has not come yet; that is asked again.

    Of final bars only the last day: those before it had closed whatever the clock said, for their
    vendor had newer ones. Of bars of older tools nothing: theirs is the time of a file.
    """
    latest = now_ms + _SKEW_MS
    late = (part for whole in view.coverage if whole.fetched_at > latest for part in whole.opened)
    ahead = [p for p in late if p.fetched_at > latest and not _is_of_a_file(p)]
    if not ahead or view.last is None:
        return ahead
    last_day = Span(view.last - DAY_MS + 1, view.last + 1)
    recent = (part.clip(last_day) if part.state == "final" else part for part in ahead)
    return [part for part in recent if part is not None]


def _is_of_a_file(part: Covered) -> bool:
    return part.state in ("final", "suspect") and part.basis.adjustment == "unknown"


@dataclass(frozen=True)
class Expiry:
    """How long a "nothing there" stands, and how long bars are left alone that are not trusted.

    Attributes:
        recent_ms: for what was said again, and lies within the last month. As often the newest
            final bars are compared again, where their vendor is asked for newer ones anyway.
        old_ms: for what was said again of older bars, and for what the calendar or a listing proves.
    """

    recent_ms: int = 24 * HOUR_MS
    old_ms: int = 90 * DAY_MS

    def of(self, span: Span, now_ms: int, *, again: bool = False) -> int:
        """Return when ``span`` is asked again; ``again`` means it had been said before."""
        old = again and now_ms - span.end >= 30 * DAY_MS
        return now_ms + (self.old_ms if old else self.recent_ms)

    def of_hole(self, span: Span, now_ms: int, *, again: bool) -> int:
        """Return when a hole is asked again; what was seen once is no proof, and soon is."""
        if again:
            return self.of(span, now_ms, again=True)
        soon = _YOUNG_HOLE_MS if now_ms - span.end < DAY_MS else _OLD_HOLE_MS
        return now_ms + min(soon, self.recent_ms)


class Doubt(NamedTuple):
    """Why bars are not to be trusted yet, and when they are asked again."""

    reason: str
    expires: int


def basis_of(fetched: Fetched, first_ms: int, instrument: Instrument, opened: int | None) -> Basis:
    """Return the basis of rows beginning at ``first_ms``.

    ``opened`` is the stamp of the last session that had opened at the fetch. It is left out when
    it is not after the first bar's date, so that daily appends share one basis; instruments
    without corporate actions have none.
    """
    adjustment = fetched.basis.adjustment
    if instrument.asset_class != "stock":
        return Basis("raw" if adjustment == "unknown" else adjustment)
    if opened is None or adjustment == "unknown" or date_of(opened) <= date_of(first_ms):
        return Basis(adjustment)
    return Basis(adjustment, date_of(opened))


@dataclass(frozen=True)
class Held:
    """What the store holds of the answered stretch.

    Attributes:
        rows: the bars as stored.
        rebased: the same in the answer's basis; empty where they cannot be compared.
        coverage: what is known there.
        tolerance: how far values may differ, relatively, and still be one and the same.
    """

    rows: BarTable
    rebased: BarTable
    coverage: Coverage
    tolerance: float = 0.0

    def may_go(self, stamp: int) -> bool:
        """Tell whether a bar held there goes when a vendor does not send it again."""
        part = self._at(stamp)
        return part is not None and (part.state == "provisional" or part.reason == UNEXPECTED)

    def is_doubted(self, stamp: int) -> bool:
        """Tell whether a bar held there was doubted from the start: nothing is lost with it."""
        part = self._at(stamp)
        return part is not None and part.reason.startswith((UNEXPECTED, DOUBTFUL))

    def _at(self, stamp: int) -> Covered | None:
        return next((part for part in self.coverage if stamp in part.span), None)


@dataclass(frozen=True)
class Terms:
    """What a commit is made under.

    Attributes:
        grid: where bars are expected.
        basis: of the rows fetched.
        now_ms: the time of the commit.
        expiry: how long nothings stand.
        doubt: what makes all that was fetched just now doubtful, such as a split nearby.
        is_refresh: whether what is stored was to be fetched again.
    """

    grid: Grid
    basis: Basis
    now_ms: int
    expiry: Expiry
    doubt: Doubt | None = None
    is_refresh: bool = False

    def expires(self, span: Span, settle_ms: int, known: Coverage) -> int:
        """Return when doubted bars in ``span`` are asked again: once settled, later less and less."""
        again = any(not c.stands(self.now_ms) for c in known.within(span))
        return self._settling(span, settle_ms) or self.expiry.of(span, self.now_ms, again=again)

    def nothings(self, hole: Span, settle_ms: int, known: Coverage) -> Iterator[tuple[Span, int]]:
        """Cut a hole where it was seen before and where not; tell when each part is asked again.

        What was seen of one part proves nothing about the minutes of another.
        """
        expired = (c.span for c in known.within(hole) if is_hole(c) and not c.stands(self.now_ms))
        seen = coalesce(expired)
        for part in sorted([*subtract([hole], seen), *seen]):
            again = part in seen or not len(self.grid.opens(part))
            expires = self._settling(part, settle_ms)
            yield part, expires or self.expiry.of_hole(part, self.now_ms, again=again)

    def _settling(self, span: Span, settle_ms: int) -> int:
        """Return when the last bar expected in ``span`` settles, or 0 where all have."""
        stamps = self.grid.opens(span)
        if not len(stamps):
            return 0
        settled = int(self.grid.settles(stamps[-1:], settle_ms)[0])
        return settled if settled > self.now_ms else 0


def is_hole(part: Covered) -> bool:
    """Tell whether bars are expected in a stretch and vendors have none."""
    return part.state == "empty" and part.reason != CLOSED
