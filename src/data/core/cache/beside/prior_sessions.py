"""Finds the daily bars before ex-dates, whose close prices are used in conversions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from ...calendars.calendar import calendar_for, day_span
from ...model.identity.instrument import Instrument
from ...model.identity.series import SeriesKey
from ...model.market.bars import BarTable, inside
from ...model.stored.coverage import WITH_BARS, Coverage
from ...model.stored.reasons import SPOILT, UNEXPECTED, Cause
from ...model.time.instant import date_of, day_ms
from ...model.time.span import Span, uncovered
from ...prices.adjustment import LastSession, basis_parts
from ...runtime.once import cached_property
from ..store import BarStore

# No market is closed for as many days as this.
LOOKBACK = timedelta(days=14)
_A_DAY = timedelta(days=1)
_SOUND = [state for state in WITH_BARS if state != "suspect"]


@dataclass(frozen=True)
class PriorSessions:
    """Finds the last session before a day among stored daily bars, which are read once.

    Attributes:
        store: Store of the bars.
        key: Series that needs the close prices, which are read from the daily series in the same
            lane.
        instrument: Instrument whose market determines the sessions.
        ex_dates: Days that may be looked up.
        closed: Reason that the coverage gives for spans in which the market was closed. If such a
            span extends up to the day, no calendar is needed.
        now_ms: Current time, which decides whether a close in doubt is due to be fetched again.
    """

    store: BarStore
    key: SeriesKey
    instrument: Instrument
    ex_dates: Sequence[date]
    closed: str = ""
    now_ms: int = 0

    def before(self, day: date) -> LastSession | None:
        """Return the bars up to the session before ``day``; None if that session is not stored.

        Bars at times at which no bar is expected are left out.
        """
        span = Span(day_ms(day - LOOKBACK), day_ms(day))
        rows, entries = self._stored_bars[0].within(span), self._stored_bars[1].within(span)
        strays = [c.span for c in entries if c.state == "suspect" and c.reason == UNEXPECTED]
        rows = rows.take(~inside(rows.stamps, strays)) if strays else rows
        if not len(rows):
            return None
        last = int(rows.stamps[-1])
        # A suspect span may contain a row that was rejected.
        known = [c.span for c in entries if c.state in _SOUND or c.reason == self.closed]
        if uncovered(Span(last, span.end), known):
            session = self._session_before(day)
            if session is None or date_of(last) < session:
                return None
            # Later bars are from closed days, and in doubt for another reason.
            rows = rows.within(Span(span.start, day_ms(session) + 1))
            if not len(rows) or date_of(int(rows.stamps[-1])) != session:
                return None
            last = int(rows.stamps[-1])
        own = next((entry for entry in entries if last in entry.span), None)
        is_doubted = own and (own.cause & (Cause.DOUBTFUL | Cause.GRAVE) or own.reason == SPOILT)
        doubt = own.reason if own and is_doubted else ""
        is_due = bool(own and doubt and not own.is_valid(self.now_ms))
        # Its vendor may have corrected it since.
        if own and own.state == "provisional":
            is_due = own.fetched_at < day_span(self.instrument, day).start
            doubt = "fetched before it had settled" if is_due else ""
        return LastSession(rows, basis_parts(entries), doubt, is_due)

    @cached_property
    def _stored_bars(self) -> tuple[BarTable, Coverage]:
        first, last = min(self.ex_dates), max(self.ex_dates)
        return self.store.read(self.key.days, Span(day_ms(first - LOOKBACK), day_ms(last)))

    def _session_before(self, day: date) -> date | None:
        sessions = calendar_for(self.instrument).sessions(day - LOOKBACK, day - _A_DAY)
        return sessions[-1].day if sessions else None
