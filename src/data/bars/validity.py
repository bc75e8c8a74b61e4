"""Decides how long stored data remains valid: reasons, expiry, doubts, lifetime, trading day.

Stored bars and empty spans are valid until they expire, a clock proves wrong, a split close to
their fetch is settled, or a session opens. These rules determine which queries are hits, and the
states in which fetched data is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..calendars.calendar import (
    MarketCalendar,
    day_span,
    opened_and_coming,
    price_calendar,
    session_date,
)
from ..clock import Clock
from ..model.actions import Action
from ..model.bars import Stamps
from ..model.coverage import WITH_BARS, Coverage, Covered
from ..model.instant import DAY_MS, HOUR_MS, MINUTE_MS, NEVER_MS, date_of, day_ms
from ..model.instrument import Instrument
from ..model.lifetime import PAGES, Bound, Lifetime
from ..model.reasons import BEFORE_FIRST, BEHIND, CHANGED, CLOSED, UNEXPECTED
from ..model.span import Span
from ..vendors.registry import is_free

if TYPE_CHECKING:
    from ..cache.actions import ActionBook
    from ..cache.store import SeriesView

# --- how long an answer is valid

# Time for which data that depends only on the local clock is not fetched again.
UNVOUCHED_MS = HOUR_MS
# Clocks of machines that share a folder may differ by this much without being wrong.
SKEW_MS = MINUTE_MS
# Times after which a gap that was seen once is fetched again: for a gap in the last day, and for an
# older one.
_YOUNG_HOLE_MS, _OLD_HOLE_MS = 15 * MINUTE_MS, 6 * HOUR_MS
# Asset classes for which vendors have bars before the open on Sunday, or on a holiday.
LOOSE_HOURS = ("forex", "future")
# The end of a series is checked again after this fraction of the time without bars.
_SHARE_OF_NOTHING = 30


@dataclass(frozen=True)
class Expiry:
    """How long empty results stay valid, and how long untrusted bars wait to be fetched again.

    Attributes:
        recent_ms: Validity of an empty result in the last 30 days, and of an older one after the
            first answer. It is also the shortest time between two comparisons of the latest final
            bars with what their vendor sends.
        old_ms: Validity of an older empty result after a second answer, and of empty spans that the
            calendar or a listing proves.
    """

    recent_ms: int = 24 * HOUR_MS
    old_ms: int = 90 * DAY_MS

    def of(self, ends: Stamps, now_ms: int, again: NDArray[np.bool_]) -> Stamps:
        """Return the times at which empty spans that end at ``ends`` are fetched again.

        ``again`` is a mask of the spans that had already been reported as empty. Of these, spans
        that ended at least 30 days ago are fetched again later than the others.
        """
        is_old = again & (now_ms - ends >= 30 * DAY_MS)
        return now_ms + np.where(is_old, self.old_ms, self.recent_ms)

    def of_holes(self, ends: Stamps, now_ms: int, again: NDArray[np.bool_]) -> Stamps:
        """Return the times at which gaps are fetched again; a gap that was reported only once is due soon."""
        soon = np.where(now_ms - ends < DAY_MS, _YOUNG_HOLE_MS, _OLD_HOLE_MS)
        return np.where(
            again, self.of(ends, now_ms, again), now_ms + np.minimum(soon, self.recent_ms)
        )

    def of_end(self, last_ms: int, now_ms: int) -> int:
        """Return the time at which to check again whether a series has really ended.

        The more recent the last bar (``last_ms``), the sooner the check.
        """
        return now_ms + min((now_ms - last_ms) // _SHARE_OF_NOTHING, self.old_ms)


class Suspicion(NamedTuple):
    """The reason why bars are not trusted yet, and when they are fetched again."""

    reason: str
    expires_ms: int


def is_hole(entry: Covered) -> bool:
    """Return whether a span is reported as empty for a reason other than a closed market."""
    return entry.state == "empty" and entry.reason != CLOSED


# --- spans in which the calendar expects no bar


def is_unasked(entry: Covered) -> bool:
    """Return whether a span is considered empty only because of the calendar; no vendor was queried."""
    return entry.state == "empty" and entry.reason == CLOSED and not entry.vendor


def has_loose_hours(instrument: Instrument) -> bool:
    """Return whether vendors have bars for an instrument outside its calendar's sessions."""
    return instrument.asset_class in LOOSE_HOURS


def may_hold_more(coverage: Coverage, closed: Span, instrument: Instrument) -> bool:
    """Return whether to query a vendor for a span in which no bar is expected.

    The result is True in three cases. First, for currencies and futures: vendors keep different
    hours, and the result of a query must not depend on earlier queries. Second, for other asset
    classes, if off-calendar bars are stored within a day of the span or, allowing an hour for clock
    changes, at its times of day. Third, next to bars from the user's own files, because queries to
    that vendor are free.
    """
    if has_loose_hours(instrument):
        return True
    return any(
        is_free(c.vendor) or (c.reason == UNEXPECTED and _is_at_such_hours(c.span, closed))
        for c in coverage.opened()
        if c.state in WITH_BARS
    )


def _is_at_such_hours(bars: Span, closed: Span) -> bool:
    if bars.overlaps(Span(closed.start - DAY_MS, closed.end + DAY_MS)):
        return True
    start, end = closed.start - HOUR_MS, closed.end + HOUR_MS
    offset = (bars.start - start) % DAY_MS  # how long after `start` they begin, on its clock
    return offset < end - start or offset + bars.end - bars.start > DAY_MS


# --- data fetched while a clock was ahead


def fetched_ahead(view: SeriesView, now_ms: int) -> list[Covered]:
    """Return the spans that were stored with a time in the future and must be fetched again.

    Final bars are included only for the last day: earlier bars had certainly closed, because their
    vendor had newer ones. Bars from older tools are never included, because their fetch time is the
    time of a file.
    """
    latest = now_ms + SKEW_MS
    late = (entry for whole in view.coverage if whole.fetched_at > latest for entry in whole.opened)
    ahead = [p for p in late if p.fetched_at > latest and not _is_of_a_file(p)]
    if not ahead or view.last is None:
        return ahead
    last_day = Span(view.last - DAY_MS + 1, view.last + 1)
    recent = (entry.clip(last_day) if entry.state == "final" else entry for entry in ahead)
    return [entry for entry in recent if entry is not None]


def latest_known(coverage: Coverage, book: ActionBook, instrument: Instrument) -> int:
    """Return the latest time (UTC ms) that must have passed according to stored data, or 0."""
    entries = [entry for entry in coverage.opened() if not _is_of_a_file(entry)]
    # A session may open on the UTC day before its date.
    dates = [entry.basis.as_of for entry in entries if entry.basis.as_of is not None]
    opened = [day_span(instrument, max(dates)).start] if dates else []
    # Parts that are doubted because the clock is behind are fetched again at that time.
    expiries = [entry.expires or 0 for entry in coverage.opened() if entry.reason == BEHIND]
    times = [action.fetched_at for action in book.reports]
    return max([0, *(entry.fetched_at for entry in entries), *opened, *expiries, *times])


def _is_of_a_file(entry: Covered) -> bool:
    return entry.state in ("final", "suspect") and entry.basis.adjustment == "unknown"


# --- data read from files that have changed since


def after_change(coverage: Coverage, now_ms: int, reason: str = CHANGED) -> Coverage:
    """Return the coverage of a series whose files have changed: all bars are doubtful and due."""
    return Coverage(
        replace(entry, expires=now_ms)
        if entry.state == "empty"
        else replace(entry, state="suspect", reason=reason, expires=now_ms)
        for entry in coverage.opened()
    )


# --- bars from older tools


def is_older(entry: Covered) -> bool:
    """Return whether ``entry`` contains bars from older tools, whose properties are unknown."""
    return entry.state == "final" and entry.basis.adjustment == "unknown"


# --- bars fetched close to a split: the vendor may have applied it a day or two early or late.
# They are returned like any other, and marked suspect with the split as the reason until the
# fourth session after the ex-date opens; then they are fetched again. If they come back equal,
# trust is restored without rewriting anything.

SESSIONS = 3
# This many days contain four sessions, whatever the holidays.
_FOUR_SESSIONS = timedelta(days=16)
_REACH_MS = 17 * DAY_MS
_ADJUSTED_FOR_SPLITS = ("split", "all")


@dataclass(frozen=True)
class SplitWindow:
    """The interval ``[start, end)`` in which a vendor's data is suspect because of a split."""

    span: Span
    split: Action

    @property
    def doubt(self) -> Suspicion:
        """The reason to doubt the bars, and the time when the doubt ends, as stored with the bars."""
        return Suspicion(f"fetched within {SESSIONS} sessions of the {self.split}", self.span.end)


def may_concern(splits: Iterable[Action], coverage: Coverage) -> bool:
    """Return whether trusted, adjusted bars may have been fetched close to a split.

    No calendar is used, so the result may be True unnecessarily, but is never False by mistake.
    """
    listed = list(splits)
    entries = coverage.opened() if listed else ()
    return any(_splits_near(listed, [entry.fetched_at for entry in entries if _is_trusted(entry)]))


def split_windows(
    splits: Iterable[Action], calendar: MarketCalendar, fetched: Sequence[int]
) -> list[SplitWindow]:
    """Return the suspect interval around each split that is near one of the fetch times ``fetched``."""
    return [SplitWindow(_window(split, calendar), split) for split in _splits_near(splits, fetched)]


def _splits_near(splits: Iterable[Action], fetched: Sequence[int]) -> Iterator[Action]:
    for split in splits:
        if any(abs(day_ms(split.ex_date) - at) < _REACH_MS for at in fetched):
            yield split


def _window(split: Action, calendar: MarketCalendar) -> Span:
    around = calendar.sessions(split.ex_date - _FOUR_SESSIONS, split.ex_date + _FOUR_SESSIONS)
    before = [s.open_ms for s in around if s.day < split.ex_date]
    after = [s.open_ms for s in around if s.day >= split.ex_date]
    first = before[-SESSIONS] if len(before) >= SESSIONS else day_ms(split.ex_date) - _REACH_MS
    # after[0] is the ex-date's own session.
    last = after[SESSIONS + 1] if len(after) > SESSIONS + 1 else day_ms(split.ex_date) + _REACH_MS
    return Span(first, last)


def doubted(coverage: Coverage, windows: Iterable[SplitWindow]) -> list[Covered]:
    """Return new coverage that marks as suspect the bars that were fetched close to a split."""
    marks: list[Covered] = []
    for window in windows:
        doubt = window.doubt
        marks += [
            replace(entry, state="suspect", reason=doubt.reason, expires=doubt.expires_ms)
            for entry in coverage
            if _is_trusted(entry) and entry.fetched_at in window.span
        ]
    return marks


def doubt_at(windows: Iterable[SplitWindow], fetched_at: int) -> Suspicion | None:
    """Return the reason to doubt data fetched at ``fetched_at``, or None; of several, the longest-lasting."""
    doubts = [window.doubt for window in windows if fetched_at in window.span]
    return max(doubts, key=lambda doubt: doubt.expires_ms, default=None)


def _is_trusted(entry: Covered) -> bool:
    """Return whether bars are final, and adjusted for splits."""
    return entry.state == "final" and entry.basis.adjustment in _ADJUSTED_FOR_SPLITS


# --- when a series begins and ends


def lifetime_of(view: SeriesView) -> Lifetime:
    """Return what is known about when a series begins and ends.

    A proven listing is also recorded in the coverage, which may outlive the series' document.
    """
    if view.lifetime.listed is not None:
        return view.lifetime
    proved = [entry for entry in view.coverage if entry.reason == BEFORE_FIRST]
    if not proved:
        return view.lifetime
    last = max(proved, key=lambda entry: entry.span.end)
    expires = last.expires or 0
    listed = Bound(last.span.end, last.vendor, last.fetched_at, expires, PAGES)
    return replace(view.lifetime, listed=listed)


# --- the trading day: splits and dividends apply from the open of their ex-date

_A_DAY = timedelta(days=1)
# By then, vendors have published the day's bar: Tiingo at 17:30 New York time.
_PUBLISHED_WITHIN_MS = 2 * HOUR_MS


class TradingDay(NamedTuple):
    """The latest session date that has opened, and the next one.

    Ex-dates up to ``day`` have been reached; the next possible one is ``coming``. Some vendors
    report an action with the bar for its day: such a vendor, if queried at ``news_ms`` or later,
    need not be queried again for ``day``. Before that time, it knows the actions up to the previous
    session, ``previous``.
    """

    day: date
    coming: date
    news_ms: int = NEVER_MS
    previous: date = date.min

    @property
    def end(self) -> int:
        """Timestamp of the next session date."""
        return day_ms(self.coming)


class TradingDays:
    """The trading day of each market. Thread-safe.

    The result from the calendar is cached until the next session opens.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._days: dict[tuple[str, str], tuple[Span, TradingDay, int]] = {}

    def latest(self, instrument: Instrument) -> TradingDay:
        """Return the current trading day, or the date at the venue if no calendar is loaded.

        The date is never earlier than the trading day; it is later before the open, on weekends
        and on holidays.
        """
        now_ms = self._clock.now_ms()
        market = (instrument.calendar, instrument.timezone)
        remembered = self._days.get(market)
        if remembered is None or now_ms not in remembered[0]:
            day = session_date(instrument, now_ms)
            remembered = day_span(instrument, day), TradingDay(day, day + _A_DAY), NEVER_MS
            self._days[market] = remembered
        return _with_news(remembered[1], remembered[2], now_ms)

    def current(self, instrument: Instrument) -> TradingDay:
        """Return the current trading day by the market's calendar.

        Raises:
            ConfigError: The calendar does not exist.
        """
        now_ms = self._clock.now_ms()
        cached = self._days.get((instrument.calendar, instrument.timezone))
        if cached is not None and cached[2] != NEVER_MS and now_ms in cached[0]:
            return _with_news(cached[1], cached[2], now_ms)
        opened, coming = opened_and_coming(price_calendar(instrument), now_ms)
        if not opened or not coming:  # no real market is closed for that long
            today = date_of(now_ms)
            return TradingDay(today, today + _A_DAY)
        latest, published = opened[-1], opened[-1].close_ms + _PUBLISHED_WITHIN_MS
        remembered = Span(latest.open_ms, coming[0].open_ms)
        day = TradingDay(latest.day, coming[0].day, latest.open_ms, opened[-2].day)
        self._days[instrument.calendar, instrument.timezone] = remembered, day, published
        return _with_news(day, published, now_ms)


def first_session(calendar: MarketCalendar, stamp_ms: int, latest: date) -> int | None:
    """Return the timestamp of the first session from ``stamp_ms`` up to ``latest``, or None."""
    sessions = calendar.sessions(date_of(stamp_ms), latest) if stamp_ms <= day_ms(latest) else ()
    return day_ms(sessions[0].day) if sessions else None


def _with_news(day: TradingDay, published_ms: int, now_ms: int) -> TradingDay:
    """Return ``day``, with its ``news_ms`` set if the bar for that day has been published."""
    return day._replace(news_ms=published_ms) if now_ms >= published_ms else day
