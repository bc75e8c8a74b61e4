"""Converts the stored bars of a series to the requested basis (price adjustment and its date).

The vendor's own adjusted close (``adj_close``) is brought to the same date. A value is NaN, until it
is fetched again, if it is unknown which actions it reflects: its vendor reported an action only after
it had sent the value (on the ex-date or in the week after it, or later if an answer for that day had
lacked it), withdrew or moved one since, or only other vendors report one; or its ratio to the price
shows that a split is missing. So are values that need daily bars or actions that cannot be had, or a
dividend in another currency. The prices do not depend on this.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import chain, product
from typing import NamedTuple

from ....errors import CorruptEntryError, KindMismatchError
from ...cache.actions import ActionBook, first_ms
from ...cache.beside.prior_sessions import LOOKBACK, PriorSessions
from ...cache.store import BarStore, SeriesView
from ...calendars.calendar import opened_day, session_date
from ...model.identity.kind import ADJUSTMENTS, HUNDREDTHS, Basis
from ...model.identity.series import SeriesKey
from ...model.market.actions import Action, vendor_currency
from ...model.market.bars import BarTable
from ...model.request.query import BarsQuery
from ...model.stored.coverage import Coverage
from ...model.stored.reasons import CLOSED, sentence
from ...model.time.instant import DAY_MS, NEVER_MS, date_of, day_ms
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...prices.adjustment import (
    BasisPart,
    ClosesBefore,
    DividendError,
    LastSession,
    basis_parts,
    needed_actions,
    rebase,
)
from ...prices.disputes import ActionEvent
from ...registry import is_sample
from ...runtime.once import cached_property
from ..validity import TradingDay
from .answer import Allowed, KnownActions, Missing, Rebased, Used

_A_DAY = timedelta(days=1)
_STORED_RAW_HINT = "these bars are stored as traded, so adjustment='raw' does not need any"
_OWN_FILES_HINT = (
    "if your files have prices as traded, write `adjustment: raw` under providers.local in the "
    "rules and request adjustment='raw'; or put a vendor that reports splits after local in a rule"
)
_OWN_LANES = [(adjustment,) for adjustment in ADJUSTMENTS]


class ActionsMissingError(KindMismatchError):
    """A conversion needs splits or dividends that no vendor has been queried for."""


@dataclass(frozen=True)
class StoredBars:
    """Bars as they are stored, with the stored data that their conversion may need.

    Attributes:
        store: Store of the actions and daily close prices.
        query, key, view: Query, series of the bars, and view of that series.
        table, coverage: Bars, ascending, and their coverage, which has the basis of each span.
        actions: Actions that the call knows in addition to the stored ones.
        today: Day as of which prices are adjusted; None for the latest known day.
        eve: Day before a dividend that cannot be applied, as of which prices are adjusted instead;
            None if there is none.
    """

    store: BarStore
    query: BarsQuery
    key: SeriesKey
    view: SeriesView
    table: BarTable
    coverage: Coverage
    actions: KnownActions
    today: TradingDay | None = None
    eve: date | None = None

    @cached_property
    def parts(self) -> list[BasisPart]:
        """The basis of each span that can contain bars."""
        return basis_parts(self.coverage)

    @cached_property
    def newest(self) -> date:
        """The latest adjustment date of the bars' prices, and at least the last bar's date."""
        return self.newest_date(self.parts, int(self.table.stamps[-1]))

    def newest_date(self, parts: Iterable[BasisPart], last_stamp: int) -> date:
        """Return the latest adjustment date of the parts' prices, and at least the last bar's date.

        In extended hours, a bar may be from before the open or after the close of the current trading day.
        """
        last, today = date_of(last_stamp), self.today
        if self.key.is_extended and today is not None and today.day < last <= today.coming:
            last = today.day
        return max([last, *(p.basis.as_of for p in parts if p.basis.as_of)])


def convert(bars: StoredBars, to: Allowed) -> Rebased | Missing:
    """Convert bars from the bases in which they are stored to the basis that their query requests.

    Prices are adjusted as of the last session that has opened, so any two answers for one symbol
    are consistent. The conversion requires all actions since the date of the bars' basis or, if the
    adjustment itself changes (``raw``, ``split``, ``all``), since the first bar. If some are
    unknown, and ``to`` is not ``latest``, bars in a lane named after its adjustment (such as
    ``1d@raw``), and some bars from pinned vendors, are returned in their own basis. Only stock bars
    are converted. Bars that are all of unknown basis are returned as they are.

    Args:
        bars: Bars to convert.
        to: Results that are accepted; see :data:`.answer.Allowed`.

    Returns:
        The converted bars, or the data that must be fetched before they can be converted.

    Raises:
        CorruptEntryError: The stored actions are damaged, and ``to`` is not ``latest``.
        KindMismatchError: The bars cannot be converted exactly.
    """
    begins: tuple[int, str] | None = None
    while True:
        result = _convert_all(bars, to)
        if not isinstance(result, Missing):
            return result._replace(begins=begins)
        error, table = result.error, bars.table
        if to != "part" or not isinstance(error, DividendError):
            return result
        # Later rows do not need this dividend, but a dividend with a later ex-date may be unusable,
        # too. If there are none, all rows are adjusted as of the day before.
        instrument = bars.query.instrument.in_session(bars.key.session)
        ex_at = first_ms(instrument, error.ex_date)
        rows = table.take(table.stamps >= ex_at)
        if len(rows) == len(table) or (bars.eve is not None and error.ex_date > bars.eve):
            return result
        if not len(rows):
            bars = replace(bars, eve=error.ex_date - _A_DAY)
            continue
        bars, begins = replace(bars, table=rows), (ex_at, str(error))


def _convert_all(bars: StoredBars, to: Allowed) -> Rebased | Missing:
    """Convert all rows; see :func:`convert`.

    The actions of a pinned vendor are used alone. If they are not enough, those of all vendors are
    used, unless ``to`` is ``latest``. The order is: as of the latest date with the vendor's own
    actions, then with those of all vendors, then the same two with ``to``.
    """
    table, query = bars.table, bars.query
    if query.instrument.asset_class != "stock" or not len(table):
        return Rebased(table)
    is_unknown = all(part.basis.adjustment == "unknown" for part in bars.parts)
    if is_unknown and query.opened_by_ms is None:
        return Rebased(table, bars.newest)
    try:
        book = bars.actions.book or bars.store.actions(bars.key.symbol)
    except CorruptEntryError as error:
        # Fetching them again starts a new book, even one that could not be stored.
        book = ActionBook()
        if not bars.actions.unstored_actions:
            if to != "latest":
                raise
            ex_dates = Span(int(table.stamps[0]) // DAY_MS * DAY_MS, day_ms(bars.newest) + DAY_MS)
            return Missing(ActionsMissingError(str(error), symbol=bars.key.symbol), ex_dates)
    book, vendor = book.with_answers(bars.actions.unstored_actions), query.action_key
    if vendor is None:
        return BookConversion(bars, book, to, to != "latest").result()
    only = book.only(vendor)
    books = (only,) if to == "latest" or is_sample(vendor) else (only, book)
    missing: list[Missing] = []
    tries = (False,) if to == "latest" else (False, True)
    for accepts_older, each in product(tries, books):
        result = BookConversion(bars, each, to, accepts_older).result()
        if not isinstance(result, Missing):
            others = {answer.source for answer in each.answers} - {vendor}
            return result._replace(borrowed=tuple(sorted(others)))
        if result.ex_dates.is_empty:  # other actions would not help
            return result
        missing.append(result)
    return missing[0]


class _Dates(NamedTuple):
    """The dates as of which rows may be adjusted, and the actions that must be known for that.

    Attributes:
        to_try: The dates, best first.
        known_until: Last ex-date whose actions must be known; None for the date that is tried.
        awaited: First ex-date whose actions may be unknown because they will be published only
            along with bars; None if no actions are awaited.
        is_awaited: Whether the answer reports them as awaited; see :class:`.Rebased`.
        named: Date that the answer names; None for the date that is tried.
    """

    to_try: Sequence[date]
    known_until: date | None = None
    awaited: date | None = None
    is_awaited: bool = False
    named: date | None = None


@dataclass(frozen=True)
class BookConversion:
    """The conversion of all rows with the actions in one book.

    Attributes:
        bars: Bars to convert; stock bars, not empty.
        book: Actions to apply.
        to: Results that are accepted.
        accepts_older: Whether prices as of an earlier date are accepted in this try.
    """

    bars: StoredBars
    book: ActionBook
    to: Allowed
    accepts_older: bool

    def result(self) -> Rebased | Missing:
        """Return the rows adjusted as of the first date to try for which the actions are known.

        If there is none, and an earlier date has been tried too, the rows may be returned as they
        are stored (:attr:`_is_substitute`). Otherwise, the result is the actions that are missing
        for the last date.
        """
        bars, dates = self.bars, self._dates()
        needs_all = not (dates.awaited or self.accepts_older)  # those up to today, too
        instrument, step_ms = bars.query.instrument, bars.key.timeframe.longest_ms
        table, reason = self.book.sure_adj_close(
            bars.table, bars.parts, instrument, step_ms, self._past_day
        )
        start = Rebased(table, used=Used(self.book), without_adj_close=reason)
        for as_of in dates.to_try:
            since, named = dates.awaited or self._unknown_since(as_of), dates.named or as_of
            goal = Basis(bars.query.adjustment, as_of)
            answer = start._replace(as_of=named, unknown_since=since, is_awaited=dates.is_awaited)
            later = [Span(day_ms(since), day_ms(since) + DAY_MS)] if since and needs_all else []
            if not later and all(self._is_at(part, goal) for part in bars.parts):
                return answer  # usual for answers from the cache
            needed = self._action_spans(dates.known_until or as_of)
            unknown = [*(span for span in needed if not self.book.covers(span)), *later]
            if not unknown:
                return self._apply(as_of, needed, answer)
        if len(dates.to_try) > 1 and self._is_substitute:
            answer = answer._replace(own=bars.parts[0].basis.adjustment)
            # Raw prices of several dates are the same prices, but their ``adj_close`` is not.
            is_one = len({part.basis for part in bars.parts}) == 1
            return answer if is_one else self._apply(bars.newest, (), answer)
        return self._actions_missing(unknown[0])

    def _dates(self) -> _Dates:
        """Return the dates to try.

        ====================================== ============================ ======================
        Case                                   Date to try                  Actions must be known
        ====================================== ============================ ======================
        1. The answer is as of a past time,    last ex-date by that time    up to the date
           and needs no awaited actions.
        2. No actions are awaited.             latest date with known bars  up to today; up to the
                                               or known actions             date if
                                                                            ``accepts_older``
        3. An awaited action is known, as are  its ex-date                  before the awaited ones
           all before it.
        4. Otherwise.                          session before the awaited   up to the date
                                               ones
        2 and 4, next, if ``accepts_older``,   latest date of the bars'     up to the date
        as of now.                             own prices
        ====================================== ============================ ======================

        Only actions since the bars' own basis count (:meth:`_action_spans`). They are awaited if
        they will be published only along with bars (:meth:`_awaited_from`).
        """
        bars, book, today, past = self.bars, self.book, self.bars.today, self._past_day
        if bars.eve is not None:
            return _Dates([bars.eve], None, bars.eve + _A_DAY)
        awaited = self._awaited_from()
        is_known = past is not None and all(map(book.covers, self._action_spans(past)))
        if past is not None and (is_known or awaited is None or past < awaited):
            return _Dates([past])  # 1
        older = [bars.newest] if self.accepts_older and past is None else []
        if awaited is None or today is None:
            return _Dates([self._latest_day, *older])  # 2
        before = today.previous if awaited == today.day else awaited - _A_DAY
        later = max((a.ex_date for a in book.actions if a.ex_date >= awaited), default=None)
        # Another split between the two dates may be unknown.
        if later is not None and book.covers(Span(day_ms(awaited), day_ms(later))):
            return _Dates([later], before, awaited)  # 3
        # Daily bars after that action are adjusted for it: an answer never contains a jump.
        is_daily, last_day = not self._is_intraday, date_of(int(bars.table.stamps[-1]))
        named = later if is_daily and later is not None and later <= last_day else None
        return _Dates([before, *older], None, awaited, is_awaited=True, named=named)  # 4

    def _is_at(self, part: BasisPart, goal: Basis) -> bool:
        """Return whether the bars of a part have the basis ``goal``, so that no actions are needed.

        The stored basis of bars from the latest session has no date (:meth:`.Basis.of_bars`), so it
        matches any date up to that session's; not if an earlier date is accepted.
        """
        if part.basis == goal or self.accepts_older:
            return part.basis == goal
        first = self.bars.table.within(part.span).stamps[:1].tolist()
        # The session is unknown, so bars may belong to the day before their UTC date, which those
        # after the close do in winter.
        return bool(first) and goal.of_bars(first[0], "", intraday=self._is_intraday) == part.basis

    @property
    def _is_substitute(self) -> bool:
        """Whether rows that cannot be converted may be used as they are, because they share one basis.

        Raw prices always share one basis, no matter when they were fetched.
        """
        bases = {part.basis for part in self.bars.parts}
        adjustments = {basis.adjustment for basis in bases}
        is_one = len(bases) == 1 or adjustments == {"raw"}
        is_alone = self.bars.actions.lacks_actions and adjustments <= {"raw", "all"}
        return is_one and (is_alone or self.bars.key.lane[-1:] in _OWN_LANES)

    # --- dates of the actions ---------------------------------------------------------------

    @property
    def _past_day(self) -> date | None:
        """The last ex-date that had come by the time of the answer; None if that time is now."""
        instrument, opened_by_ms = self.bars.query.instrument, self.bars.query.opened_by_ms
        return None if opened_by_ms is None else opened_day(instrument, opened_by_ms)

    @property
    def _latest_day(self) -> date:
        """The date to adjust prices to: the latest one with known bars or known actions."""
        bars, view = self.bars, self.bars.view
        last = view.last if view.last is not None else day_ms(bars.newest)
        of_series = bars.newest_date(basis_parts(view.coverage), last)
        return self.book.newest(max(bars.newest, of_series))

    def _awaited_from(self) -> date | None:
        """Return the first date whose actions the vendor will publish only along with that day's bar.

        The result is None if no such date is known. If this machine's clock is behind, the bars may
        be later than its current date. Prices that are not raw are adjusted as of an earlier date
        only if no other vendor reports the awaited actions.
        """
        bars, book, today = self.bars, self.book, self.bars.today
        if today is None or bars.query.adjustment == "raw" or not book.awaited:
            return None
        if not self.accepts_older and any(p.basis.adjustment != "raw" for p in bars.parts):
            return None
        awaited = book.awaited_from(max(today.day, bars.newest), today.news_ms)
        if awaited is not None or not self.accepts_older:
            return awaited
        # An answer that was cut off leaves a gap; other vendors may have reported actions after it.
        needed = self._action_spans(self._latest_day)
        start = next((gap.start for span in needed for gap in book.missing(span)), None)
        is_awaited = any(start in answer.span for answer in book.awaited)
        return date_of(start) if start is not None and is_awaited else None

    def _unknown_since(self, as_of: date) -> date | None:
        """Return the first ex-date after ``as_of``, up to today, that was never requested.

        The result is None if every ex-date was requested, or if later actions do not matter.
        """
        query, today = self.bars.query, self.bars.today
        is_independent = query.adjustment == "raw" or query.opened_by_ms is not None
        if is_independent or today is None or today.day <= as_of:
            return None
        last_day = self.book.known_until(as_of)
        return last_day + _A_DAY if last_day < today.day else None

    def _action_spans(self, as_of: date, *, of_adj_close: bool = False) -> list[Span]:
        """Return the ex-dates for which a conversion as of ``as_of`` needs actions.

        With ``of_adj_close``, the conversion is that of ``adj_close`` alone.
        """
        query, kind, stamps = self.bars.query, self.bars.view.kind, self.bars.table.stamps
        parts, adjustment = self.bars.parts, query.adjustment
        if of_adj_close:
            adjustment = "all"
            parts = [replace(part, basis=Basis("all", part.basis.as_of)) for part in parts]
        reach, intraday = Span(int(stamps[0]), int(stamps[-1]) + 1), self._is_intraday
        has_sessions = intraday and kind is not None and kind.session == "regular"
        day_of = (lambda stamp: session_date(query.instrument, stamp)) if has_sessions else None
        return needed_actions(reach, parts, adjustment, as_of, intraday=intraday, session_of=day_of)

    def _actions_missing(self, unknown: Span) -> Missing:
        """Return the span of all ex-dates to request, with an error that names the unknown ones."""
        bars, today, start = self.bars, self.bars.today, unknown.start
        end = max(unknown.end, today.end if today else 0)
        is_raw = {part.basis.adjustment for part in bars.parts} == {"raw"}
        error = ActionsMissingError(
            f"splits and dividends for {bars.key.symbol} are not known for all of "
            f"{date_of(start)}..{date_of(end - 1)}, but {bars.query.adjustment} prices need them",
            symbol=bars.key.symbol,
            hint=_STORED_RAW_HINT if is_raw else self._hint_of_files,
        )
        return Missing(error, Span(start, end))

    # --- the rows, and the closes before dividends ------------------------------------------

    def _apply(self, as_of: date, needed: Sequence[Span], answer: Rebased) -> Rebased | Missing:
        """Return ``answer`` with its rows adjusted as of ``as_of``.

        ``needed`` are the ex-dates of the actions that count. An ``adj_close`` that cannot be
        brought to that date is left out, but the closes that this takes are fetched first.
        """
        bars, query, book = self.bars, self.bars.query, self.book
        if not self._is_intraday:  # like `rebase`, because the closes must be as of the same date
            as_of = max(as_of, date_of(int(bars.table.stamps[-1])))
        applied = book.by_date(query.instrument.in_session(bars.key.session))
        actions_of = applied.of if book.disputed else None
        closes = ClosesBefore(book.actions, as_of, self._session_before, actions_of)
        absent: dict[str, list[ActionEvent]] = {}
        if query.adjustment == "raw":  # only what prices reflect is removed from them
            dates = sorted(
                (part.basis.as_of, part.vendor) for part in bars.parts if part.basis.as_of
            )
            absent = {vendor: applied.splits_not_in(vendor, day) for day, vendor in dates}

        def removed(vendor: str) -> list[Action]:
            """Return the actions to remove from a vendor's prices."""
            events = absent.get(vendor, [])
            return [a for a in applied.of(vendor) if not any(a in e.reports for e in events)]

        lost: list[KindMismatchError] = []
        try:
            rows = rebase(
                answer.table,
                bars.parts,
                applied.actions,
                answer.own or query.adjustment,
                as_of=as_of,
                own=removed if any(absent.values()) else actions_of,
                own_adj_close=applied.of,
                adj_close_dates=self._known_ex_dates,
                lost=lost,
                intraday=self._is_intraday,
                timeframe=query.timeframe,
                close_before=closes,
            )
        except DividendError as error:
            return Missing(error, days=self._days_needed(error.ex_date, needed))
        except KindMismatchError as error:
            error.hint = self._hint_of_files or error.hint
            raise
        used = Used(book, closes.closes, doubts=(*sorted(closes.doubts.items()),))
        events = {event.words: event for event in (*book.disputed, *chain(*absent.values()))}
        disputed = self._disputed(events.values(), needed)
        done = answer._replace(table=rows, disputed=disputed, used=used)
        if not lost:
            return done
        ex_dates = [error.ex_date for error in lost if isinstance(error, DividendError)]
        if ex_dates and self.to == "latest":
            spans = self._action_spans(as_of, of_adj_close=True)
            days = self._days_needed(max(ex_dates), spans)
            if not days.is_empty:
                return Missing(lost[0], days=days)
        return done._replace(without_adj_close=str(lost[0]))

    @property
    def _known_ex_dates(self) -> list[Span]:
        """The ex-dates that were requested, with those whose actions no vendor has published yet.

        An answer with raw prices, whose adjusted closes are as of these, needs them published.
        """
        book, today = self.book, self.bars.today
        news_ms = NEVER_MS if today is None else today.news_ms
        is_raw = self.bars.query.adjustment == "raw"
        awaited = [] if is_raw else book.answers_awaited(news_ms)
        return [asked.span for asked in (*book.answers, *awaited)]

    def _disputed(
        self, disputed: Iterable[ActionEvent], needed: Sequence[Span]
    ) -> list[ActionEvent]:
        """Return those of the disputed splits and dividends that prices depend on.

        An event counts if any vendor's ex-date for it is inside one of the ``needed`` spans.
        """
        return [
            event
            for event in disputed
            if (self._takes_dividends or event.type == "split")
            and any(day_ms(report.ex_date) in span for report in event.reports for span in needed)
        ]

    @property
    def _takes_dividends(self) -> bool:
        """Whether the conversion adds dividends to prices or removes them from prices.

        This is the case if the requested adjustment, or that of any part, is ``all`` (splits and
        dividends).
        """
        parts = self.bars.parts
        return "all" in (self.bars.query.adjustment, *(part.basis.adjustment for part in parts))

    def _session_before(self, day: date) -> LastSession | None:
        """Return the session before an ex-date.

        A session whose close is in doubt is fetched again once it is due, but used if it cannot be;
        not only for an adjusted close, which is then left out.

        Raises:
            DividendError: The session is not stored or cannot be used, or a vendor reports the
                dividend in a currency other than that of the prices.
        """
        symbol = self.bars.key.symbol
        if foreign := self._foreign_dividends.get(day):
            raise DividendError(foreign, day, symbol=symbol)
        session = self._prior_sessions.before(day)
        if fault := self._fault_of(session):
            raise DividendError(f"the close for {symbol} before {day} {fault}", day, symbol=symbol)
        return session and session._replace(parts=[*map(self._as_reported, session.parts)])

    def _as_reported(self, part: BasisPart) -> BasisPart:
        """Return a part whose prices reflect only splits that its vendor reports, as its amounts do."""
        as_of = part.basis.as_of or date.min
        lacking = self.book.splits_not_in(part.vendor, as_of) if self.book.splits else ()
        days = [event.action().ex_date for event in lacking]
        eve = min([as_of, *(day - _A_DAY for day in days if day <= as_of)])
        return part if eve == as_of else replace(part, basis=replace(part.basis, as_of=eve))

    def _fault_of(self, session: LastSession | None) -> str:
        """Return the reason to fetch a session before it is used; empty if it can be used."""
        if session is None:
            return "is not stored"
        is_unusable = session.is_due and self.to != "part"
        if not self._takes_dividends:
            is_unusable = bool(session.doubt)
        return f"is in doubt ({sentence(session.doubt)})" if is_unusable else ""

    @cached_property
    def _prior_sessions(self) -> PriorSessions:
        bars, query, first = self.bars, self.bars.query, date_of(int(self.bars.table.stamps[0]))
        reports = (a for a in self.book.reports if a.type == "dividend" and a.ex_date >= first)
        ex_dates = [action.ex_date for action in reports]
        return PriorSessions(bars.store, bars.key, query.instrument, ex_dates, CLOSED, query.now_ms)

    @cached_property
    def _foreign_dividends(self) -> dict[date, str]:
        """Maps each ex-date of a dividend in a currency other than that of the prices to the reason.

        Vendors do not convert such amounts.
        """
        kind = self.bars.view.kind
        unit = vendor_currency((kind and kind.unit) or self.bars.query.instrument.quote)
        return {
            a.ex_date: f"cannot adjust for the {a}: it is in {a.currency}, not in {unit}"
            for a in self.book.reports
            if unit and a.currency and _amount_unit(a.currency) != _amount_unit(unit)
        }

    def _days_needed(self, day: date, spans: Sequence[Span]) -> Span:
        """Return the days to fetch for the closes before ``day`` and before each dividend.

        The dividends are those with an ex-date in ``spans``. Days that a request for daily bars has
        already fetched are not requested again. The span is empty if the session before ``day`` is
        stored, or would not help.
        """
        query = self.bars.query
        if day in self._foreign_dividends or not self._fault_of(self._prior_sessions.before(day)):
            return Span(0, 0)
        ex_dates = (action.ex_date for action in self.book.dividends)
        later = [day, *(ex for ex in ex_dates if any(day_ms(ex) in span for span in spans))]
        days = Span(day_ms(min(later) - LOOKBACK), day_ms(max(later)) + 1)
        if query.timeframe != Timeframe.parse("1d"):
            return days
        return Span(max(days.start, query.span.end), days.end)

    @property
    def _hint_of_files(self) -> str | None:
        """What to write in the rules if the bars are from the user's own files, otherwise None."""
        key = self.bars.key
        return _OWN_FILES_HINT if key.is_of_files and not key.is_sample else None

    @property
    def _is_intraday(self) -> bool:
        return self.bars.query.timeframe.is_intraday


def _amount_unit(code: str) -> tuple[str, bool]:
    """Return the currency of amounts with a vendor's code, and whether they are hundredths of it."""
    return HUNDREDTHS.get(code, code), code in HUNDREDTHS
