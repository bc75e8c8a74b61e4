"""How long knowledge about a series remains valid: reasons, expiry, doubts, lifetime, trading day.

Stored bars and nothings hold until they expire, a clock proves wrong, a split close to their fetch
is ruled out, or a session opens. A hit is decided by these rules, and so is what a fetch stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple

from ..calendars.calendar import MarketCalendar, calendar_for, day_span, session_date
from ..clock import Clock
from ..model.actions import Action
from ..model.coverage import BEFORE_FIRST as BEFORE_FIRST
from ..model.coverage import CLOSED as CLOSED
from ..model.coverage import DOUBTFUL as DOUBTFUL
from ..model.coverage import GRAVE as GRAVE
from ..model.coverage import NO_BAR as NO_BAR
from ..model.coverage import SETTLED as SETTLED
from ..model.coverage import UNASKED as UNASKED
from ..model.coverage import Coverage, Covered
from ..model.instant import DAY_MS, HOUR_MS, MINUTE_MS, date_of, day_ms
from ..model.instrument import Instrument
from ..model.lifetime import PAGES, Bound, Lifetime
from ..model.span import Span
from ..vendors.registry import is_free

if TYPE_CHECKING:
    from ..cache.actions import ActionBook
    from ..cache.store import SeriesView

# --- reasons of stretches in a coverage, and how long they stand

AFTER_LAST = "after the last bar"
UNPUBLISHED = "closed, not published yet"
DELETED = "deleted by another caller while it was read"
LOST = "the vendor does not have this bar any more"
FORMING = "forming"
SPOILT = "the vendor now sends something here that cannot be a bar"
UNEXPECTED = "outside the sessions of the market's calendar"
UNVOUCHED = "by our own clock alone, which nothing vouches for"
AHEAD = "fetched at a time that has not come yet: the clock was wrong then, or is now"
CHANGED = f"{DOUBTFUL}read from files on this machine that have changed since"
RELAID = f"{DOUBTFUL}read from files on this machine by another layout than that of the rules"
# So long is left alone what only our own clock says.
UNVOUCHED_MS = HOUR_MS
# Clocks of machines that share a folder differ by this much without being wrong.
SKEW_MS = MINUTE_MS
# A hole that was seen once is asked again after so long: one of the last day, and an older one.
_YOUNG_HOLE_MS, _OLD_HOLE_MS = 15 * MINUTE_MS, 6 * HOUR_MS
# Classes whose vendors have bars before the open on Sunday, or on a holiday.
_LOOSE_HOURS = ("forex", "future")
# The end of a series is asked about again after this part of the time that nothing came.
_SHARE_OF_NOTHING = 30
BEHIND = (
    f"{DOUBTFUL}as of when prices are adjusted is not known, for this machine's clock is behind"
)


@dataclass(frozen=True)
class Expiry:
    """How long a "nothing there" stands, and how long bars are left alone that are not trusted.

    Attributes:
        recent_ms: how long "nothing there" stands for stretches of the last 30 days, and for older
            ones after the first answer. It is also the shortest time between two comparisons of the
            newest final bars with what their vendor sends.
        old_ms: the same for older stretches after a second answer, and for what the calendar or a
            listing proves.
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

    def of_end(self, last_ms: int, now_ms: int) -> int:
        """Return when the nothing since the last bar at ``last_ms`` is asked about again.

        The sooner the shorter it is: bars may come all the same one day.
        """
        return now_ms + min((now_ms - last_ms) // _SHARE_OF_NOTHING, self.old_ms)


class Suspicion(NamedTuple):
    """Why bars are not to be trusted yet, and when they are asked again."""

    reason: str
    expires: int


def is_hole(part: Covered) -> bool:
    """Tell whether bars are expected in a stretch and vendors have none."""
    return part.state == "empty" and part.reason != CLOSED


# --- stretches in which the calendar expects no bar


def is_unasked(part: Covered) -> bool:
    """Tell whether a stretch is empty by the calendar alone: no vendor was asked for it."""
    return part.state == "empty" and part.reason == CLOSED and not part.vendor


def has_loose_hours(instrument: Instrument) -> bool:
    """Return whether vendors have bars of an instrument beside the sessions of its calendar."""
    return instrument.asset_class in _LOOSE_HOURS


def may_hold_more(coverage: Coverage, closed: Span, instrument: Instrument) -> bool:
    """Return whether to query a vendor for a stretch in which no bar is expected.

    Always for currencies and futures: vendors keep different hours, and what a question returns must
    not depend on those before it. For other classes if bars are stored beside the calendar at such
    hours: within a day of the stretch or, give or take the hour by which clocks are changed, at its
    times of day. Also beside bars of the user's own files: their vendor costs nothing.
    """
    if has_loose_hours(instrument):
        return True
    return any(
        is_free(part.vendor) or (part.reason == UNEXPECTED and _is_at_such_hours(part.span, closed))
        for part in coverage.opened()
        if part.state != "empty"
    )


def _is_at_such_hours(bars: Span, closed: Span) -> bool:
    if bars.overlaps(Span(closed.start - DAY_MS, closed.end + DAY_MS)):
        return True
    start, end = closed.start - HOUR_MS, closed.end + HOUR_MS
    behind = (bars.start - start) % DAY_MS  # how long after `start` on its clock they begin
    return behind < end - start or behind + bars.end - bars.start > DAY_MS


# --- what was learned by a clock that was ahead


def fetched_ahead(view: SeriesView, now_ms: int) -> list[Covered]:
    """Return what a series learned at a time that has not come yet; that is asked again.

    Of final bars only the last day: those before it had closed whatever the clock said, for their
    vendor had newer ones. Of bars of older tools nothing: theirs is the time of a file.
    """
    latest = now_ms + SKEW_MS
    late = (part for whole in view.coverage if whole.fetched_at > latest for part in whole.opened)
    ahead = [p for p in late if p.fetched_at > latest and not _is_of_a_file(p)]
    if not ahead or view.last is None:
        return ahead
    last_day = Span(view.last - DAY_MS + 1, view.last + 1)
    recent = (part.clip(last_day) if part.state == "final" else part for part in ahead)
    return [part for part in recent if part is not None]


def latest_known(coverage: Coverage, book: ActionBook) -> int:
    """Return a time that is over by what is stored of a share, in UTC milliseconds; 0 where none is."""
    parts = [part for part in coverage.opened() if not _is_of_a_file(part)]
    opened = [day_ms(part.basis.as_of) for part in parts if part.basis.as_of is not None]
    # What is doubted for it waits for that time.
    doubted = [part.expires or 0 for part in coverage.opened() if part.reason == BEHIND]
    times = [action.fetched_at for action in book.reports]
    return max([0, *(part.fetched_at for part in parts), *opened, *doubted, *times])


def _is_of_a_file(part: Covered) -> bool:
    return part.state in ("final", "suspect") and part.basis.adjustment == "unknown"


# --- what was read of files that have changed since


def after_change(coverage: Coverage, now_ms: int, reason: str = CHANGED) -> Coverage:
    """Return what is known of a series whose files have changed: all of it is doubted, and due."""
    return Coverage(
        replace(part, expires=now_ms)
        if part.state == "empty"
        else replace(part, state="suspect", reason=reason, expires=now_ms)
        for part in coverage.opened()
    )


# --- bars of older tools


def is_older(part: Covered) -> bool:
    """Tell whether these are bars of older tools: nothing tells what they are."""
    return part.state == "final" and part.basis.adjustment == "unknown"


# --- bars fetched close to a split: the vendor may have applied it a day or two early or late.
# They are returned like any other, and marked suspect with the split as the reason until the
# fourth session after the ex-date opens; then they are asked again. Where they come equal, trust
# is restored without rewriting anything.

SESSIONS = 3
# Four sessions lie within this many days, whatever the holidays.
_REACH = timedelta(days=16)
_REACH_MS = 17 * DAY_MS
_ADJUSTED = ("split", "all")


@dataclass(frozen=True)
class SplitWindow:
    """The instants ``[start, end)`` at which what a vendor says is doubted for a split."""

    span: Span
    split: Action

    @property
    def doubt(self) -> Suspicion:
        """What is written with the bars."""
        return Suspicion(f"fetched within {SESSIONS} sessions of the {self.split}", self.span.end)


def may_concern(splits: Iterable[Action], coverage: Coverage) -> bool:
    """Tell without a calendar whether trusted bars can have been fetched too close to a split."""
    listed = list(splits)
    parts = coverage.opened() if listed else ()
    return any(_near(listed, [part.fetched_at for part in parts if _is_trusted(part)]))


def split_windows(
    splits: Iterable[Action], calendar: MarketCalendar, fetched: Sequence[int]
) -> list[SplitWindow]:
    """Return the windows of those splits that are near one of the instants ``fetched``."""
    return [SplitWindow(_window(split, calendar), split) for split in _near(splits, fetched)]


def _near(splits: Iterable[Action], fetched: Sequence[int]) -> Iterator[Action]:
    for split in splits:
        if any(abs(day_ms(split.ex_date) - at) < _REACH_MS for at in fetched):
            yield split


def _window(split: Action, calendar: MarketCalendar) -> Span:
    around = calendar.sessions(split.ex_date - _REACH, split.ex_date + _REACH)
    before = [s.open_ms for s in around if s.day < split.ex_date]
    after = [s.open_ms for s in around if s.day >= split.ex_date]
    first = before[-SESSIONS] if len(before) >= SESSIONS else day_ms(split.ex_date) - _REACH_MS
    # after[0] is the ex-date's own session.
    last = after[SESSIONS + 1] if len(after) > SESSIONS + 1 else day_ms(split.ex_date) + _REACH_MS
    return Span(first, last)


def doubted(coverage: Coverage, near: Iterable[SplitWindow]) -> list[Covered]:
    """Return the marks by which trusted bars that were fetched inside a window lose trust."""
    marks: list[Covered] = []
    for window in near:
        doubt = window.doubt
        marks += [
            replace(part, state="suspect", reason=doubt.reason, expires=doubt.expires)
            for part in coverage
            if _is_trusted(part) and part.fetched_at in window.span
        ]
    return marks


def doubt_at(near: Iterable[SplitWindow], fetched_at: int) -> Suspicion | None:
    """Return the doubt of what is fetched at an instant; of several the one that lasts longest."""
    doubts = [window.doubt for window in near if fetched_at in window.span]
    return max(doubts, key=lambda doubt: doubt.expires, default=None)


def _is_trusted(part: Covered) -> bool:
    """Tell whether these are adjusted bars that count as final."""
    return part.state == "final" and part.basis.adjustment in _ADJUSTED


# --- from when to when a series trades

# So many vendors must say that there is nothing before it.
PROVING = 2


def is_proof(part: Covered) -> bool:
    """Tell whether a stretch proves that there is nothing before a listing."""
    return part.reason == BEFORE_FIRST and len(part.vendor.split(",")) >= PROVING


def lifetime_of(view: SeriesView) -> Lifetime:
    """Return what is known of when a series begins and ends.

    A listing that was proved stands in the coverage too, which outlives the document of the series.
    What an earlier version concluded from the silence of one vendor is no proof.
    """
    if view.lifetime.listed is not None:
        return view.lifetime
    proved = [part for part in view.coverage if is_proof(part)]
    if not proved:
        return view.lifetime
    last = max(proved, key=lambda part: part.span.end)
    expires = last.expires or 0
    listed = Bound(last.span.end, last.vendor, last.fetched_at, expires, PAGES)
    return replace(view.lifetime, listed=listed)


# --- the trading day whose splits and dividends count from the open of their ex-date

_NEAR = timedelta(days=14)
_A_DAY = timedelta(days=1)
_NEVER = 1 << 62
# By then vendors have published the day's bar: Tiingo at 17:30 in New York.
_PUBLISHED_MS = 2 * HOUR_MS


class TradingDay(NamedTuple):
    """A session date that has opened, and the next one that opens.

    Ex-dates up to ``day`` count, and none lies before ``coming``. A vendor that tells an action with
    the bar of its day, and was asked at ``news_ms`` or later, need not be asked again for ``day``: until
    then it knows what counts in the session before, ``previous``.
    """

    day: date
    coming: date
    news_ms: int = _NEVER
    previous: date = date.min

    @property
    def end(self) -> int:
        """Stamp of the next session date."""
        return day_ms(self.coming)


class TradingDays:
    """The trading day of each market. Thread-safe.

    What a calendar says is remembered until the next session opens.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._days: dict[tuple[str, str], tuple[Span, TradingDay, int]] = {}

    def latest(self, instrument: Instrument) -> TradingDay:
        """Return the current trading day, or the date at the venue where no calendar is at hand.

        The date is never earlier than the trading day: before the open, on weekends and holidays
        it is later.
        """
        now = self._clock.now_ms()
        market = (instrument.calendar, instrument.timezone)
        stands = self._days.get(market)
        if stands is None or now not in stands[0]:
            day = session_date(instrument, now)
            stands = day_span(instrument, day), TradingDay(day, day + _A_DAY), _NEVER
            self._days[market] = stands
        return _with_news(stands[1], stands[2], now)

    def current(self, instrument: Instrument) -> TradingDay:
        """Return the current trading day by the market's calendar.

        Raises:
            ConfigError: there is no such calendar.
        """
        now = self._clock.now_ms()
        today = date_of(now)
        around = calendar_for(instrument).sessions(today - _NEAR, today + _NEAR)
        opened = [session for session in around if session.open_ms <= now]
        coming = [session for session in around if session.open_ms > now]
        if not opened or not coming:  # no market is closed for so long
            return TradingDay(today, today + _A_DAY)
        latest, published = opened[-1], opened[-1].close_ms + _PUBLISHED_MS
        stands = Span(latest.open_ms, coming[0].open_ms)
        day = TradingDay(latest.day, coming[0].day, latest.open_ms, opened[-2].day)
        self._days[instrument.calendar, instrument.timezone] = stands, day, published
        return _with_news(day, published, now)


def first_session(calendar: MarketCalendar, stamp_ms: int, latest: date) -> int | None:
    """Return the stamp of the first session from a date's stamp up to ``latest``, if there is one."""
    sessions = calendar.sessions(date_of(stamp_ms), latest) if stamp_ms <= day_ms(latest) else ()
    return day_ms(sessions[0].day) if sessions else None


def _with_news(day: TradingDay, published_ms: int, now_ms: int) -> TradingDay:
    """Return the day as it is once its bar has been published."""
    return day._replace(news_ms=published_ms) if now_ms >= published_ms else day
