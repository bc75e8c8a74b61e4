"""Tell a hole at the beginning of a series from the time before its listing."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..cache.store import Commit
from ..clock import Clock
from ..errors import NoDataError
from ..model.capabilities import FetchQuery
from ..model.coverage import Coverage, Covered
from ..model.instant import DAY_MS, date_of, day_ms
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


def listed_from(coverage: Coverage) -> int:
    """Return the stamp before which there is proof that nothing ever traded; 0 without any."""
    return max((part.span.end for part in coverage if part.reason == BEFORE_FIRST), default=0)


class ListingProof:
    """Proves that the nothing before the first bar is the time before a listing. Thread-safe.

    Without proof it might be an outage at the start of what was asked, and a hole is never called
    harmless on a guess. Either nothing came for longer than any halt lasts, or one request for
    the days before says so.
    """

    def __init__(self, keeper: Keeper, clock: Clock, expiry: Expiry) -> None:
        self._keeper = keeper
        self._clock = clock
        self._expiry = expiry

    def seek(self, work: Work, segments: Sequence[Span]) -> None:
        """Look for proof if what was asked just now left a nothing before the first bar."""
        nothing = _before_first_bar(self._keeper.coverage(work))
        if nothing is None or not any(nothing.overlaps(s) for s in segments):
            return
        if nothing.end - nothing.start < _LONGEST_HALT_MS and not self._asked(work, nothing):
            return
        now = self._clock.now_ms()
        mark = Covered(nothing, "empty", fetched_at=now, reason=BEFORE_FIRST,
                       expires=now + self._expiry.old_ms)  # fmt: skip
        self._keeper.commit(work, Commit(marks=(mark,)))

    def _asked(self, work: Work, nothing: Span) -> bool:
        """Ask a vendor for the days before; tell whether it says that there are none."""
        first = day_ms(date_of(nothing.start))
        days = FetchQuery(
            work.query.instrument, Timeframe.parse("1d"), Span(first - _LONGEST_HALT_MS, first),
            self._clock.now_ms(),
        )  # fmt: skip
        for candidate in work.lane.candidates:
            if candidate.name not in work.out and _can_tell(candidate, days):
                try:
                    candidate.fetch(days)
                except NoDataError:
                    return True
                except FAILED as error:
                    log.info("%s did not tell whether %s was listed: %s", candidate.name,
                             work.query, error)  # fmt: skip
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


def _can_tell(candidate: Candidate, days: FetchQuery) -> bool:
    return candidate.capabilities is not None and not candidate.refusal(
        days.instrument, days.timeframe
    )
