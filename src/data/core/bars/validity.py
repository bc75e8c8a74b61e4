"""Decides how long stored data remains valid: holes, suspect bars, lifetime, trading day.

Stored bars and empty spans are valid until they expire, a clock proves wrong, a split close to
their fetch is settled, or a session opens. These rules determine which queries are hits, and the
states in which fetched data is stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..calendars.buckets import doubted
from ..calendars.calendar import (
    MarketCalendar,
    calendar_for,
    day_span,
    opened_and_coming,
    price_calendar,
    session_date,
)
from ..calendars.grid import BarGrid
from ..clock import Clock
from ..model.identity.instrument import Instrument
from ..model.market.actions import Action
from ..model.market.bars import BarTable, Stamps, among, inside
from ..model.stored.coverage import WITH_BARS, Coverage, Covered
from ..model.stored.lifetime import PAGES, Bound, Lifetime
from ..model.stored.reasons import BEFORE_FIRST, BEHIND, CLOSED, DOUBTFUL, NEAR_SPLIT, UNEXPECTED
from ..model.time.edges import Edges, distinct, edges_of, holds
from ..model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, NEVER_MS, date_of, day_ms
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe
from ..prices.disputes import has_support

if TYPE_CHECKING:
    from ..cache.actions import ActionBook, Lack
    from ..cache.store import SeriesView

# --- how long an answer is valid

# Time for which data that depends only on the local clock is not fetched again.
UNVOUCHED_MS = HOUR_MS
# Clocks of machines that share a folder may differ by this much without being wrong.
SKEW_MS = MINUTE_MS
# A span is requested again after a quarter of its age at first, but never earlier than after 15
# minutes or later than after 90 days.
_SHARE_OF_AGE, _FIRST_MS, LONGEST_MS = 4, 15 * MINUTE_MS, 90 * DAY_MS
# Asset classes for which vendors have bars before the open on Sunday, or on a holiday.
LOOSE_HOURS = ("forex", "future")
# The end of a series is checked again after this fraction of the time without bars.
_SHARE_OF_NOTHING = 30


@dataclass(frozen=True)
class Expiry:
    """How long answers stay valid at most when they are received for the first time.

    Attributes:
        recent_ms: Longest time after which a span without bars is requested again for the first
            time, if that is less than a day. It is also the shortest time between two comparisons
            of the latest final bars with what their vendor sends.
    """

    recent_ms: int = DAY_MS


def next_due(hole: Hole, now_ms: int) -> int:
    """Return the time at which to request a span again that has no bars, or suspect ones.

    The wait is a quarter of the span's age, at least 15 minutes and at most a day or
    ``cache.default_ttl_hours``. Each equal answer at another time makes it at least twice as long as
    the last one, up to 90 days. There are three exceptions: :func:`beside_filled` ends the wait
    early, :func:`postponed` repeats it if an answer shows nothing about the span, and grave bars
    wait at most a week (``ingest/judge.py``).
    """
    age_ms = now_ms - hole.end
    first_ms = min(max(age_ms // _SHARE_OF_AGE, _FIRST_MS), DAY_MS, hole.expiry.recent_ms)
    return now_ms + min(max(first_ms, 2 * hole.waited_ms), LONGEST_MS)


class Hole(NamedTuple):
    """A span for which a vendor has just returned no bars, or bars that are still suspect.

    Attributes:
        end: End of the span; its age is counted from there.
        expiry: Limit of the first wait.
        waited_ms: How long the last such answer was valid; 0 if this is the first, or if that one
            is still valid.
    """

    end: int
    expiry: Expiry
    waited_ms: int = 0


def waited_ms(entry: Covered, now_ms: int) -> int:
    """Return how long the answer in a coverage entry was valid; 0 if it still is."""
    return 0 if entry.is_valid(now_ms) else max((entry.expires or 0) - entry.fetched_at, 0)


def postponed(entry: Covered, now_ms: int) -> Covered:
    """Return an entry that waits as long again if it is due, because nothing was learned about it."""
    if entry.is_valid(now_ms):
        return entry
    wait = max(waited_ms(entry, now_ms), _FIRST_MS)
    return replace(entry, fetched_at=now_ms, expires=now_ms + wait)


def ages_from(edges: Edges, now_ms: int) -> NDArray[np.int64]:
    """Return the times from which the ages of an answer's spans are counted.

    It is the end of each span. The recent spans, for which the first wait is shorter than a day,
    share that of the latest one, so that an answer with many of them adds only one time to the
    stored documents.
    """
    ends = edges[:, 1]
    is_recent = now_ms - ends < _SHARE_OF_AGE * DAY_MS
    return np.where(is_recent, ends.max(initial=0), ends)


def by_wait(edges: Edges, coverage: Coverage, now_ms: int) -> tuple[Edges, NDArray[np.int64]]:
    """Split spans where the last answers about them were valid for different times.

    An answer about one part of a span does not prove anything about another part.

    Returns:
        The ascending parts, and the time for which the last answer about each of them was valid.
    """
    entries = coverage.opened().columns
    times = np.array([waited_ms(source, now_ms) for source in entries.sources], np.int64)
    waits = times[entries.codes]
    old, waits = entries.take(waits > 0), waits[waits > 0]
    if not len(waits):
        return edges, np.zeros(len(edges), np.int64)
    cuts = distinct(np.concatenate([edges.ravel(), old.starts, old.ends]))
    parts = np.column_stack([cuts[:-1], cuts[1:]])[holds(edges, cuts[:-1])]
    index = old.starts.searchsorted(parts[:, 0], "right") - 1
    return parts, np.where((index >= 0) & (parts[:, 0] < old.ends[index]), waits[index], 0)


def due_parts(
    edges: Edges, coverage: Coverage, grid: BarGrid, expiry: Expiry, now_ms: int
) -> tuple[Edges, Stamps]:
    """Return when to request spans again that have no trusted bars, after splitting them.

    The parts are those of :func:`by_wait`. If no bar is expected in a part, it is requested as
    rarely as closed hours.
    """
    parts, waits = by_wait(edges, coverage, now_ms)
    pairs = zip(ages_from(parts, now_ms).tolist(), waits.tolist(), strict=True)
    due = np.array([next_due(Hole(end, expiry, ms), now_ms) for end, ms in pairs], np.int64)
    return parts, np.where(grid.expects(parts), due, now_ms + LONGEST_MS)


def is_repeated(entry: Covered, grid: BarGrid, expiry: Expiry) -> bool:
    """Return whether an answer without bars was received again after it was due.

    It was if it is valid for longer than a first answer at its time would be. If no bar is expected
    in its span, all answers are valid equally long, so the result is False.
    """
    first = due_parts(edges_of([entry.span]), Coverage(), grid, expiry, entry.fetched_at)[1]
    return entry.expires is None or entry.expires > first[0]


def beside_filled(coverage: Coverage, stamps: Stamps, now_ms: int) -> list[Covered]:
    """Return the holes beside those that new bars fill, as new coverage that is due immediately.

    Holes are beside each other if no stored bar is between them. They probably have one cause, such
    as an outage of the vendor, which is over.

    Args:
        coverage: Coverage before the new bars are stored.
        stamps: Timestamps of the new bars, ascending.
        now_ms: Current time.
    """
    entries = coverage.opened().columns
    is_empty, has_bars = (
        np.array([test(source) for source in entries.sources], bool)[entries.codes]
        for test in (is_hole, lambda source: source.state in WITH_BARS)
    )
    index = entries.starts.searchsorted(stamps, "right") - 1
    index, stamps = index[index >= 0], stamps[index >= 0]
    filled = index[(stamps < entries.ends[index]) & is_empty[index]]
    if not len(filled):
        return []
    runs = np.cumsum(has_bars, dtype=np.int64)
    beside = Coverage.of(entries.take(is_empty & np.isin(runs, runs[filled])))
    return [replace(entry, expires=now_ms) for entry in beside if entry.is_valid(now_ms)]


def end_due(last_ms: int, now_ms: int) -> int:
    """Return the time at which to check again whether a series has really ended.

    The more recent the last bar (``last_ms``), the sooner the check.
    """
    return now_ms + min((now_ms - last_ms) // _SHARE_OF_NOTHING, LONGEST_MS)


class Suspicion(NamedTuple):
    """The reason why bars are ``suspect``, and when they are fetched again."""

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

    The result is True in two cases. First, for currencies and futures: vendors keep different
    hours, and the result of a query must not depend on earlier queries. Second, for other asset
    classes, if off-calendar bars are stored within a day of the span or, allowing an hour for clock
    changes, at its times of day.
    """
    if has_loose_hours(instrument):
        return True
    return any(
        c.state in WITH_BARS and c.reason == UNEXPECTED and _is_at_such_hours(c.span, closed)
        for c in coverage.opened()
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
    # Parts that are suspect because the clock is behind are fetched again at that time.
    expiries = [entry.expires or 0 for entry in coverage.opened() if entry.reason == BEHIND]
    times = [action.fetched_at for action in book.reports]
    return max([0, *(entry.fetched_at for entry in entries), *opened, *expiries, *times])


def _is_of_a_file(entry: Covered) -> bool:
    return entry.state in ("final", "suspect") and entry.basis.adjustment == "unknown"


# --- bars from older tools


def is_older(entry: Covered) -> bool:
    """Return whether ``entry`` contains bars from older tools, whose properties are unknown."""
    return entry.state == "final" and entry.basis.adjustment == "unknown"


def with_strays(
    coverage: Coverage, table: BarTable, instrument: Instrument, timeframe: Timeframe
) -> Coverage:
    """Return the coverage, in which bars of older tools outside the sessions are suspect.

    They count as such bars in a vendor's answer do. They are not marked in the store, because the
    files were converted without a calendar. Intraday bars may begin on the hour, or be counted from
    the open.
    """
    older = coverage.where(is_older)
    if not len(older):
        return coverage
    strays = table.stamps[inside(table.stamps, older)]
    if not len(strays):
        return coverage
    reach = Span(int(strays[0]), int(strays[-1]) + 1)
    for anchor in ("session", "clock") if timeframe.is_intraday else ("session",):
        grid = BarGrid(calendar_for(instrument), timeframe, anchor)
        strays = strays[~among(strays, grid.opens(reach))]
    return doubted(coverage, strays, timeframe, reason=UNEXPECTED)


# --- bars fetched close to a split: the vendor may have applied it a day or two early or late.
# They are returned like any other, and marked suspect with the split as the reason until a week
# after the ex-date; then they are fetched again. If they come back equal, trust is restored without
# rewriting anything.

_NEAR_SPLIT_MS = 7 * DAY_MS
_ADJUSTED_FOR_SPLITS = ("split", "all")


def split_suspicion(
    splits: Iterable[Action], fetched_at: int, own: ActionBook | None = None
) -> Suspicion | None:
    """Return why data fetched at ``fetched_at``, within a week of a split, is suspect, or None.

    If only other vendors report the split, although the data's vendor was queried for its date, too,
    the data is in doubt. ``own`` has what that vendor reported.
    """
    near = [s for s in splits if abs(fetched_at - day_ms(s.ex_date)) < _NEAR_SPLIT_MS]
    if not near:
        return None
    last = max(near, key=lambda split: split.ex_date)
    day, reason = day_ms(last.ex_date), f"{NEAR_SPLIT}{last}"
    is_asked = own is not None and own.covers(Span(day, day + DAY_MS))
    if own and is_asked and last not in own.reports and not has_support(last, own.reports):
        reason = f"{DOUBTFUL}{reason}, which its vendor does not report"
    return Suspicion(reason, day + _NEAR_SPLIT_MS)


def split_marks(coverage: Coverage, book: ActionBook) -> list[Covered]:
    """Return marks that make bars suspect that were fetched close to a split.

    Bars whose prices may reflect an action that was withdrawn since, or may not yet reflect one that
    was reported late, are suspect, too, and due.
    """
    if not (book.splits or book.withdrawn or book.late):
        return []
    return [
        replace(entry, state="suspect", reason=found.reason, expires=found.expires_ms)
        for entry in coverage.opened()
        if _is_trusted(entry)
        and (
            found := _changed_since(entry, book)
            or split_suspicion(book.splits, entry.fetched_at, book.only(entry.vendor))
        )
    ]


def _changed_since(entry: Covered, book: ActionBook) -> Suspicion | None:
    """Return why bars are suspect that were fetched before a report about their prices changed, or None."""
    for lack in book.withdrawn:
        if may_reflect(entry, lack, entry.basis.adjustment):
            reason = f"{DOUBTFUL}fetched before {lack.action.source} withdrew the {lack.action}"
            return Suspicion(reason, lack.last)
    for action in book.late:
        is_before = (
            entry.span.start < day_ms(action.ex_date) and entry.fetched_at < action.fetched_at
        )
        if is_before and action.is_in(entry.basis.adjustment, entry.basis.as_of):
            reason = f"{DOUBTFUL}fetched before {action.source} reported the {action}"
            return Suspicion(reason, action.fetched_at)
    return None


def may_reflect(entry: Covered, withdrawn: Lack, adjustment: str) -> bool:
    """Return whether values that came with this adjustment may reflect an action withdrawn since."""
    action, _, last, _ = withdrawn
    was_reported = action.fetched_at - _NEAR_SPLIT_MS <= entry.fetched_at < last
    is_before = entry.span.start < day_ms(action.ex_date)
    return was_reported and is_before and action.is_in(adjustment, entry.basis.as_of)


def _is_trusted(entry: Covered) -> bool:
    """Return whether bars are final, and adjusted for splits."""
    return entry.state == "final" and entry.basis.adjustment in _ADJUSTED_FOR_SPLITS


# --- when a series begins and ends


def lifetime_of(view: SeriesView) -> Lifetime:
    """Return the known begin and end of a series.

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
