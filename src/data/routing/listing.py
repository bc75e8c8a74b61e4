"""Tell a hole at either end of a series from the time before its listing or after its end."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from ..cache.store import Commit
from ..clock import Clock
from ..errors import NoDataError
from ..model.capabilities import FetchQuery
from ..model.coverage import Coverage, Covered
from ..model.instant import DAY_MS, date_of, day_ms
from ..model.lifetime import Bound, Lifetime
from ..model.span import Span
from ..model.timeframe import Timeframe
from .candidate import Candidate
from .fetching import FAILED
from .keeping import Keeper
from .terms import BEFORE_FIRST, Expiry
from .work import Work

log = logging.getLogger("onetape.routing")

# Nothing halts for longer than this and comes back; and this far back a vendor is asked for days.
_LONGEST_HALT_MS = 45 * DAY_MS
# The end of a series is asked about again after this part of the time that nothing came.
_SHARE_OF_NOTHING = 30


class ListingProof:
    """Proves that the nothing before the first bar is the time before a listing. Thread-safe.

    Without proof it might be an outage at the start of what was asked, and a hole is never called
    harmless on a guess. Either the vendor told the date, or nothing came for longer than any halt
    lasts, or one request for the days before says so.

    The nothing behind the last bar is the end of a series where it is longer than any halt and
    reaches up to now: what lies behind an outage of long ago was merely not asked for yet. Bars may
    come all the same one day: it is asked again the sooner the shorter it is.
    """

    def __init__(self, keeper: Keeper, clock: Clock, expiry: Expiry) -> None:
        self._keeper = keeper
        self._clock = clock
        self._expiry = expiry

    def seek(self, work: Work, segments: Sequence[Span]) -> None:
        """Look for proof if what was asked just now left a nothing before or behind all bars."""
        coverage = self._keeper.coverage(work)
        nothing, behind = _before_first_bar(coverage), _behind_last_bar(coverage)
        if nothing is not None and any(nothing.overlaps(s) for s in segments):
            self._seek_listing(work, nothing, coverage)
        if behind is not None and any(behind.overlaps(s) for s in segments):
            self._seek_end(work, behind, coverage)

    def _seek_listing(self, work: Work, nothing: Span, coverage: Coverage) -> None:
        told = self._keeper.lifetime(work).listed
        if told is not None and nothing.end <= told.at:
            return
        if nothing.end - nothing.start < _LONGEST_HALT_MS and not self._asked(work, nothing):
            return
        now = self._clock.now_ms()
        expires, vendors = now + self._expiry.old_ms, _vendors(coverage, nothing)
        mark = Covered(
            nothing, "empty", vendors, fetched_at=now, reason=BEFORE_FIRST, expires=expires
        )
        life = Lifetime(listed=Bound(nothing.end, vendors, now, expires))
        self._keeper.commit(work, Commit(marks=(mark,), lifetime=life))

    def _seek_end(self, work: Work, nothing: Span, coverage: Coverage) -> None:
        length = nothing.end - nothing.start
        if length < _LONGEST_HALT_MS or any(u.span.overlaps(nothing) for u in work.unfilled):
            return
        now = self._clock.now_ms()
        if not _reaches(work, nothing.end, now):
            return
        expires = now + min(length // _SHARE_OF_NOTHING, self._expiry.old_ms)
        end = Bound(nothing.start, _vendors(coverage, nothing), now, expires)
        self._keeper.commit(work, Commit(lifetime=Lifetime(delisted=end)))

    def _asked(self, work: Work, nothing: Span) -> bool:
        """Ask a vendor for the days before; tell whether it says that there are none."""
        first = day_ms(date_of(nothing.start))
        days = FetchQuery(
            work.query.instrument,
            Timeframe.parse("1d"),
            Span(first - _LONGEST_HALT_MS, first),
            self._clock.now_ms(),
        )
        for candidate in work.lane.candidates:
            if candidate.name not in work.out and _can_tell(candidate, days):
                try:
                    candidate.fetch(days)
                except NoDataError:
                    return True
                except FAILED as error:
                    log.info(
                        "%s did not tell whether %s was listed: %s",
                        candidate.name,
                        work.query,
                        error,
                    )
                return False
        return False


def _before_first_bar(coverage: Coverage) -> Span | None:
    """Return the unproven nothing that ends where the first bars begin, if there is one."""
    place = next((i for i, part in enumerate(coverage) if part.state != "empty"), 0)
    start = end = coverage[place].span.start if coverage else 0
    for part in reversed(coverage[:place]):
        if part.span.end != start or part.reason == BEFORE_FIRST:
            break
        start = part.span.start
    return Span(start, end) if start < end else None


def _behind_last_bar(coverage: Coverage) -> Span | None:
    """Return the nothing that begins where the last bars end, if there is one."""
    behind = next((n for n, part in enumerate(reversed(coverage)) if part.state != "empty"), 0)
    start = end = coverage[-behind].span.start if behind else 0
    for part in coverage[-behind:] if behind else ():
        if part.span.start != end:
            break
        end = part.span.end
    return Span(start, end) if start < end else None


def _reaches(work: Work, end: int, now_ms: int) -> bool:
    """Tell whether no bar behind ``end`` has settled."""
    following = np.array([work.grid.next_open(end)], dtype=np.int64)
    return bool(work.grid.settles(following, work.settle_ms)[0] > now_ms)


def _vendors(coverage: Coverage, nothing: Span) -> str:
    """Return who said that there is nothing."""
    said = (part.vendor.split(",") for part in coverage.within(nothing))
    return ",".join(sorted({name for names in said for name in names if name}))


def _can_tell(candidate: Candidate, days: FetchQuery) -> bool:
    return candidate.capabilities is not None and not candidate.refusal(
        days.instrument, days.timeframe
    )
