"""Converts the stored bars of a lane to the requested basis."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial

from ...cache.actions import ActionBook, Asked, first_ms
from ...cache.prior_sessions import LOOKBACK, PriorSessions
from ...cache.store import BarStore, SeriesView
from ...calendars.calendar import opened_and_coming, price_calendar, session_date
from ...errors import CorruptEntryError, KindMismatchError
from ...model.actions import Action, vendor_currency
from ...model.bars import BarTable
from ...model.coverage import Coverage
from ...model.instant import DAY_MS, date_of, day_ms
from ...model.kind import ADJUSTMENTS, HUNDREDTHS, Basis
from ...model.query import BarsQuery
from ...model.reasons import CLOSED, sentence
from ...model.series import SeriesKey
from ...model.span import Span, uncovered
from ...model.timeframe import Timeframe
from ...prices.adjustment import (
    BasisPart,
    ClosesBefore,
    DividendError,
    LastSession,
    SessionOf,
    basis_parts,
    needed_actions,
    rebase,
)
from ...prices.disputes import ActionEvent
from ...vendors.registry import is_sample
from ..validity import TradingDay
from .answer import Rebased, Used, is_at

_A_DAY = timedelta(days=1)
_STORED_RAW_HINT = "these bars are stored as traded, so adjustment='raw' does not need any"
_OWN_LANES = [(adjustment,) for adjustment in ADJUSTMENTS]


class ActionsMissingError(KindMismatchError):
    """A conversion needs splits or dividends for a span that no vendor has been queried for."""

    def __init__(self, message: str, span: Span, **context: str | None) -> None:
        super().__init__(message, **context)
        self.span = span


@dataclass(frozen=True)
class Rebaser:
    """Converts the rows of one answer to one basis (price adjustment and its date).

    Prices are adjusted as of the last session that has opened, so any two answers for one symbol
    are consistent. The conversion requires all actions since the rows were fetched.

    Attributes:
        store: Store of the actions and daily close prices.
        query, key, view: Query, series of the rows, and view of that series.
        unstored: Actions that could not be written to disk.
        lenient: Whether to keep the rows' own basis if the later actions are not known.
        read: Stored actions, if they have already been read.
        today: Day as of which prices are adjusted; None for the latest known day.
        is_alone: Whether the bars are from a pinned vendor (named in the call) that cannot report
            actions.
        in_part: Whether rows that cannot be adjusted for a later dividend may be left out.
    """

    store: BarStore
    query: BarsQuery
    key: SeriesKey
    view: SeriesView
    unstored: Sequence[tuple[Sequence[Action], Asked]] = ()
    lenient: bool = False
    read: ActionBook | None = None
    today: TradingDay | None = None
    is_alone: bool = False
    in_part: bool = False

    def rebased(self, table: BarTable, coverage: Coverage) -> Rebased:
        """Return the rows with the requested adjustment applied.

        If ``in_part`` is set, rows that cannot be adjusted are left out; these are always the
        earliest.

        Raises:
            ActionsMissingError, DividendError, KindMismatchError: See :meth:`_rebased_all`.
        """
        try:
            return self._rebased_all(table, coverage)
        except DividendError as error:
            # Later rows do not need this dividend, but a dividend with a later ex-date may be
            # unusable, too.
            instrument = self.query.instrument.in_session(self.key.session)
            ex_at = first_ms(instrument, error.ex_date)
            rows = table.take(table.stamps >= ex_at)
            if not self.in_part or len(rows) in (0, len(table)):
                raise
            rebased = self.rebased(rows, coverage)
            return rebased if rebased.begins else rebased._replace(begins=(ex_at, str(error)))

    def _rebased_all(self, table: BarTable, coverage: Coverage) -> Rebased:
        """Return all rows with the requested adjustment applied; only stock bars are converted.

        Bars in a lane named after its adjustment (such as ``1d@raw``) cannot be converted, nor can
        some bars from pinned vendors. If such a lane is read because better bars do not exist, its
        rows are returned unchanged, provided that they share one basis.

        Raises:
            ActionsMissingError: Actions are needed that were never requested.
            DividendError: The close price before a dividend is not stored.
            KindMismatchError: The rows cannot be converted exactly.
        """
        if self.query.instrument.asset_class != "stock" or not len(table):
            return Rebased(table)
        parts = basis_parts(coverage)
        newest = self._newest_date(parts, int(table.stamps[-1]))
        is_unknown = all(p.basis.adjustment == "unknown" for p in parts)
        if is_unknown and self.query.opened_by_ms is None:
            return Rebased(table, newest)
        book, vendor = self._book(table, newest), self.query.action_key
        if vendor is None:
            return self._rebased_by(table, parts, newest, book)
        only = book.only(vendor)
        if not self.lenient:
            return self._rebased_by(table, parts, newest, only)
        return self._by_pinned(table, parts, newest, (only,) if is_sample(vendor) else (only, book))

    def _by_pinned(
        self, table: BarTable, parts: Sequence[BasisPart], newest: date, books: Sequence[ActionBook]
    ) -> Rebased:
        """Return the rows adjusted with the pinned vendor's actions, falling back to all vendors' actions.

        Args:
            table: Rows.
            parts: Spans of the rows that share one basis (price adjustment and its date).
            newest: Date of the newest row's basis.
            books: Actions in the order in which they are tried.
        """
        errors: list[ActionsMissingError] = []
        for rebaser in (replace(self, lenient=False), self):
            for book in books:
                others = {a.source for a in book.answers} - {self.query.action_key or ""}
                try:
                    rebased = rebaser._rebased_by(table, parts, newest, book)
                except ActionsMissingError as missing:
                    errors.append(missing)
                else:
                    return rebased._replace(borrowed=tuple(sorted(others)))
        raise errors[0]

    def _rebased_by(
        self, table: BarTable, parts: Sequence[BasisPart], newest: date, book: ActionBook
    ) -> Rebased:
        """Return the rows with the requested adjustment applied, using the actions in ``book``."""
        known = self._known_day
        if known is not None:
            return self._rebased_to(known, None, table, parts, known, book)
        awaited = self._awaited_from(book, table, parts, newest)
        if self.today is not None and awaited is not None:
            as_of = self.today.previous if awaited == self.today.day else awaited - _A_DAY
            later = max((a.ex_date for a in book.actions if a.ex_date >= awaited), default=None)
            between = Span(day_ms(awaited), day_ms(later or awaited))
            # Another split between the two dates may be unknown.
            if later is None or not (between.is_empty or book.covers(between)):
                rebased = self._rebased_to(as_of, None, table, parts, newest, book)
                if later and not self._is_intraday and later <= date_of(int(table.stamps[-1])):
                    rebased = rebased._replace(as_of=later)  # an answer never contains a jump
                return rebased._replace(unknown_since=awaited, is_awaited=True)
            needed = self._action_spans(table, parts, as_of)
            if (missing := _first_missing(book, needed)) is not None:
                raise self._actions_missing(missing, awaited, {part.basis for part in parts})
            disputed = used(book.disputed, needed, dividends=self._takes_dividends(parts))
            converted, used_for = self._convert_rows(table, parts, book, later)
            return Rebased(converted, later, disputed, unknown_since=awaited, used=used_for)
        as_of = self._target(book, newest)
        return self._rebased_to(as_of, self._unknown_since(book, as_of), table, parts, newest, book)

    def _rebased_to(
        self,
        as_of: date,
        since: date | None,
        table: BarTable,
        parts: Sequence[BasisPart],
        newest: date,
        book: ActionBook,
    ) -> Rebased:
        goal = Basis(self.query.adjustment, as_of)
        is_there = partial(is_at, table, goal=goal, intraday=self._is_intraday)
        if not self.lenient and since is None and all(is_there(p.span, p.basis) for p in parts):
            return Rebased(table, as_of, used=Used(book))  # usual for answers from the cache
        needed = self._action_spans(table, parts, as_of)
        if self.lenient and as_of != newest and _first_missing(book, needed):
            as_of, needed = newest, self._action_spans(table, parts, newest)
            since = self._unknown_since(book, newest)
        missing = _first_missing(book, needed)
        if missing is not None or (since is not None and not self.lenient):
            bases = {part.basis for part in parts}
            if self.lenient and self.query.opened_by_ms is None and self._is_substitute(bases):
                instead = parts[0].basis.adjustment
                return Rebased(table, newest, instead=instead, unknown_since=since, used=Used(book))
            raise self._actions_missing(missing, since, bases)
        if all(p.basis == Basis(self.query.adjustment, as_of) for p in parts):
            return Rebased(table, as_of, unknown_since=since, used=Used(book))
        disputed = used(book.disputed, needed, dividends=self._takes_dividends(parts))
        converted, used_for = self._convert_rows(table, parts, book, as_of)
        return Rebased(converted, as_of, disputed, unknown_since=since, used=used_for)

    def _is_substitute(self, bases: Collection[Basis]) -> bool:
        """Return whether rows that cannot be converted may be used as they are, because they share one basis.

        Raw prices always share one basis, no matter when they were fetched.
        """
        adjustments = {basis.adjustment for basis in bases}
        is_one = len(bases) == 1 or adjustments == {"raw"}
        is_alone = self.is_alone and adjustments <= {"raw", "all"}
        return is_one and (is_alone or self.key.lane[-1:] in _OWN_LANES)

    def _awaited_from(
        self, book: ActionBook, table: BarTable, parts: Sequence[BasisPart], newest: date
    ) -> date | None:
        """Return the first date whose actions the vendor will publish only along with that day's bar.

        The result is None if no such date is known. If this machine's clock is behind, the bars may
        be later than its current date. Only raw prices can be adjusted as of a date before they
        were fetched.
        """
        if self.today is None or self.query.adjustment == "raw" or not book.awaited:
            return None
        if any(part.basis.adjustment != "raw" for part in parts):
            return None
        awaited = book.awaited_from(max(self.today.day, newest), self.today.news_ms)
        if awaited is not None or not self.lenient:
            return awaited
        # An answer that was cut off leaves a gap; other vendors may have reported actions after it.
        spans = [answer.span for answer in book.answers]
        for span in self._action_spans(table, parts, self._target(book, newest)):
            for rest in uncovered(span, spans):
                is_awaited = any(rest.start in answer.span for answer in book.awaited)
                return date_of(rest.start) if is_awaited else None
        return None

    def _unknown_since(self, book: ActionBook, as_of: date) -> date | None:
        """Return the first ex-date after ``as_of``, up to today, that was never requested.

        The result is None if every ex-date was requested, or if raw prices are requested.
        """
        if self.today is None or self.query.adjustment == "raw" or self.today.day <= as_of:
            return None
        last_day = book.known_until(as_of)
        return last_day + _A_DAY if last_day < self.today.day else None

    def _actions_missing(
        self, missing: Span | None, since: date | None, bases: Iterable[Basis]
    ) -> ActionsMissingError:
        """Return an error that names the unknown actions, with the span of all ex-dates to request."""
        start = missing.start if missing is not None else day_ms(since or date.max)
        end = max(missing.end if missing is not None else 0, self.today.end if self.today else 0)
        return ActionsMissingError(
            f"splits and dividends for {self.key.symbol} are not known for all of "
            f"{date_of(start)}..{date_of(end - 1)}, but {self.query.adjustment} prices need them",
            Span(start, end),
            symbol=self.key.symbol,
            hint=_STORED_RAW_HINT if {b.adjustment for b in bases} == {"raw"} else None,
        )

    def _book(self, table: BarTable, newest: date) -> ActionBook:
        if self.read is not None:
            return with_answers(self.read, self.unstored)
        try:
            book = self.store.actions(self.key.symbol)
        except CorruptEntryError as error:
            if self.lenient:
                raise
            # Fetching them again starts a new book.
            span = Span(int(table.stamps[0]) // DAY_MS * DAY_MS, day_ms(newest) + DAY_MS)
            raise ActionsMissingError(str(error), span, symbol=self.key.symbol) from error
        return with_answers(book, self.unstored)

    @property
    def _known_day(self) -> date | None:
        """The last ex-date that had come by the time of the answer; None if that time is now."""
        instrument, opened_by_ms = self.query.instrument, self.query.opened_by_ms
        if opened_by_ms is None:
            return None
        opened, _ = opened_and_coming(price_calendar(instrument), opened_by_ms)
        return opened[-1].day if opened else session_date(instrument, opened_by_ms)

    def _target(self, book: ActionBook, newest: date) -> date:
        """Return the date to adjust prices to: the latest one with known bars or known actions."""
        last = self.view.last if self.view.last is not None else day_ms(newest)
        return book.newest(max(newest, self._newest_date(basis_parts(self.view.coverage), last)))

    def _newest_date(self, parts: Iterable[BasisPart], last_stamp: int) -> date:
        """Return the latest adjustment date of the parts' prices, and at least the last bar's date.

        In extended hours, a bar may be from before the open or after the close of the current trading day.
        """
        last, today = date_of(last_stamp), self.today
        if self.key.is_extended and today is not None and today.day < last <= today.coming:
            last = today.day
        return max([last, *(p.basis.as_of for p in parts if p.basis.as_of)])

    def _action_spans(self, table: BarTable, parts: Sequence[BasisPart], as_of: date) -> list[Span]:
        """Return the ex-dates for which the conversion needs actions."""
        reach = Span(int(table.stamps[0]), int(table.stamps[-1]) + 1)
        return needed_actions(
            reach,
            parts,
            self.query.adjustment,
            as_of,
            intraday=self._is_intraday,
            session_of=self._session_of(),
        )

    def _session_of(self) -> SessionOf | None:
        """Return a function that maps bars to session dates; None if bars may be outside sessions."""
        kind = self.view.kind
        if not self._is_intraday or kind is None or kind.session != "regular":
            return None
        return lambda stamp_ms: session_date(self.query.instrument, stamp_ms)

    def _convert_rows(
        self, table: BarTable, parts: Sequence[BasisPart], book: ActionBook, as_of: date
    ) -> tuple[BarTable, Used]:
        applied = book.by_date(self.query.instrument.in_session(self.key.session))
        actions_of = applied.of if book.disputed else None
        last_session = self._last_sessions(date_of(int(table.stamps[0])), parts, book, as_of)
        closes = ClosesBefore(book.actions, as_of, last_session, actions_of)
        rows = rebase(
            table,
            parts,
            applied.actions,
            self.query.adjustment,
            as_of=as_of,
            own=actions_of,
            intraday=self._is_intraday,
            timeframe=self.query.timeframe,
            close_before=closes,
        )
        return rows, Used(book, closes.closes, doubts=(*sorted(closes.doubts.items()),))

    def _takes_dividends(self, parts: Sequence[BasisPart]) -> bool:
        """Return whether the conversion adds dividends to prices or removes them from prices.

        This is the case if the requested adjustment, or that of any part, is ``all`` (splits and
        dividends).
        """
        return "all" in (self.query.adjustment, *(part.basis.adjustment for part in parts))

    def _last_sessions(
        self, first: date, parts: Sequence[BasisPart], book: ActionBook, as_of: date
    ) -> Callable[[date], LastSession | None]:
        """Return a function that maps an ex-date, ``first`` or later, to the preceding session.

        If that session is not stored, the function raises an error that names the days to fetch, or
        returns None if only the adjusted-close column needs the session. A session whose close is
        in doubt is fetched again once it is due, but used if it cannot be. A dividend that a vendor
        reports in a currency other than that of the prices is treated as one without such a session.
        """
        foreign = self._foreign_dividends(book)
        ex_dates = [a.ex_date for a in book.reports if a.type == "dividend" and a.ex_date >= first]
        instrument, now_ms = self.query.instrument, self.query.now_ms
        prior = PriorSessions(self.store, self.key, instrument, ex_dates, CLOSED, now_ms)
        takes_dividends = self._takes_dividends(parts)

        def last_session(day: date) -> LastSession | None:
            """Return the session before ``day``; if it is not stored, raise an error if needed, else None."""
            session = None if day in foreign else prior.before(day)
            if not takes_dividends:  # an adjusted close is not worth a request or a doubt
                return session and session._replace(doubt="")
            if day in foreign:
                raise DividendError(foreign[day], day, symbol=self.key.symbol)
            if session is None or (session.is_due and not self.in_part):
                why = f"is in doubt ({sentence(session.doubt)})" if session else "is not stored"
                raise self._closes_missing(day, why, as_of, book)
            return session

        return last_session

    def _foreign_dividends(self, book: ActionBook) -> dict[date, str]:
        """Map each ex-date of a dividend in a currency other than that of the prices to the reason.

        Vendors do not convert such amounts.
        """
        declared = self.view.kind.unit if self.view.kind else ""
        unit = vendor_currency(declared or self.query.instrument.quote)
        return {
            a.ex_date: f"cannot adjust for the {a}: it is in {a.currency}, not in {unit}"
            for a in book.reports
            if unit and a.currency and _amount_unit(a.currency) != _amount_unit(unit)
        }

    def _closes_missing(self, day: date, why: str, as_of: date, book: ActionBook) -> DividendError:
        """Return the error for a missing close before ``day``, with the span of days to fetch."""
        text = f"the close for {self.key.symbol} before {day} {why}"
        return DividendError(text, day, self._days_needed(book, day, as_of), symbol=self.key.symbol)

    def _days_needed(self, book: ActionBook, day: date, as_of: date) -> Span:
        """Return the days to fetch for the closes before ``day`` and before each dividend.

        The dividends are those after the start of the range, up to ``as_of``.

        Days that a request for daily bars has already fetched are not requested again.
        """
        first = date_of(self.query.span.start)
        later = [day, *(a.ex_date for a in book.dividends if first < a.ex_date <= as_of)]
        days = Span(day_ms(min(later) - LOOKBACK), day_ms(max(later)) + 1)
        if self.query.timeframe != Timeframe.parse("1d"):
            return days
        return Span(max(days.start, self.query.span.end), days.end)

    @property
    def _is_intraday(self) -> bool:
        return self.query.timeframe.is_intraday


def used(
    disputed: Iterable[ActionEvent], needed: Sequence[Span], *, dividends: bool
) -> list[ActionEvent]:
    """Return the disputed splits that a conversion needs and, if ``dividends`` is set, the dividends.

    An event is needed if any vendor's ex-date for it is inside one of the ``needed`` spans.
    """
    return [
        event
        for event in disputed
        if (dividends or event.type == "split")
        and any(day_ms(report.ex_date) in span for report in event.reports for span in needed)
    ]


def _amount_unit(code: str) -> tuple[str, bool]:
    """Return the currency of amounts with a vendor's code, and whether they are hundredths of it."""
    return HUNDREDTHS.get(code, code), code in HUNDREDTHS


def _first_missing(book: ActionBook, needed: Iterable[Span]) -> Span | None:
    """Return the first of the ``needed`` spans of ex-dates that was never requested, or None."""
    return next((span for span in needed if not book.covers(span)), None)


def with_answers(book: ActionBook, answers: Sequence[tuple[Sequence[Action], Asked]]) -> ActionBook:
    """Return ``book`` with ``answers`` added, i.e. vendors' answers that could not be stored."""
    for actions, answer in answers:
        book = book.with_answer(actions, answer)
    return book
