"""Splits and dividends for a symbol, independent of bars; fetched if they are missing or due."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from ...errors import AllProvidersFailedError, Attempt, CorruptEntryError, NoProviderError
from ..cache.actions import ActionBook
from ..cache.store import BarStore
from ..calendars.grid import grid_for
from ..calendars.localtime import FIRST_YEAR
from ..clock import Clock
from ..model.answer.provenance import ATTRS_KEY, freeze
from ..model.identity.instrument import Instrument
from ..model.identity.kind import Kind
from ..model.identity.series import SeriesKey
from ..model.market.actions import Action, amount_on
from ..model.request.query import BarsQuery
from ..model.stored.stored import KnownAction, actions_frame
from ..model.time.instant import DAY_MS, NEVER_MS, date_of, day_ms
from ..model.time.span import Span, coalesce, subtract
from ..model.time.timeframe import Timeframe
from ..net.calls.deadline import recorded_call
from ..net.limits.locks import SeriesLocks
from ..prices.adjustment import basis_parts
from ..prices.disputes import ActionEvent
from ..registry import is_sample
from .answer.action_columns import KnownActions
from .answer.answer import Answer, as_known
from .answer.reader import adj_close_missing, attempt_entries, dissent_of
from .fetch.actions import ActionFetcher
from .selection.candidates import Selector, candidates_of
from .selection.route import LaneRoute
from .series import LATE_BY_MS, Journal, LaneRequest, SeriesStore
from .turns import FindLeases, Turns
from .validity import TradingDay, TradingDays

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("onetape.routing")

_DAILY = Timeframe.parse("1d")
_FIRST_DAY = date(FIRST_YEAR, 1, 1)


class FoundActions(NamedTuple):
    """The result of a query for splits and dividends.

    Attributes:
        symbol: Canonical symbol.
        actions: Actions with an ex-date in the requested range, ordered by ex-date.
        attempts: Queries sent to vendors by this call, in order.
        missing: Ex-dates that no vendor was queried for, as spans of session dates.
        awaited: Requested ex-dates whose actions the vendor will report together with that day's
            bar.
        problems: Reasons why actions are missing, and failures to store actions.
    """

    symbol: str
    actions: tuple[KnownAction, ...] = ()
    attempts: Sequence[Attempt] = ()
    missing: Sequence[Span] = ()
    awaited: Sequence[Span] = ()
    problems: Sequence[str] = ()

    def frame(self) -> pd.DataFrame:
        """Return the frame of ``DataManager.get_actions``, with its provenance in ``attrs``."""
        frame = actions_frame(self.actions)
        reason = {"reason": "; ".join(self.problems)}
        frame.attrs[ATTRS_KEY] = freeze(
            {
                "symbol": self.symbol,
                "rows": len(frame),
                "complete": not self.missing,
                "gaps": [_days(span) | reason for span in self.missing],
                "awaited": [_days(span) for span in self.awaited],
                "left_out": [known.to_json() for known in self.actions if not known.counts],
                "attempts": attempt_entries(self.attempts),
            }
        )
        return frame


class ActionService:
    """Provides splits and dividends. Thread-safe; one symbol is fetched by one thread at a time.

    Args:
        store: Store that keeps the actions.
        selector: Selects the vendors, which are those in the rules for daily bars.
        clock: Source of the current time.
        leases: Leases that let only one process fetch at a time.
    """

    def __init__(
        self, store: BarStore, selector: Selector, clock: Clock, leases: FindLeases | None
    ) -> None:
        self._store, self._selector, self._clock = store, selector, clock
        self._days = TradingDays(clock)
        self._locks, self._turns = SeriesLocks(), Turns(store.scope, clock, leases)

    def stored(
        self, instrument: Instrument, vendor: str | None = None, *, is_alone: bool = False
    ) -> tuple[KnownAction, ...]:
        """Return the stored actions that apply to bars from ``vendor``; empty for all but stocks.

        With ``is_alone``, these are only the reports of this vendor.

        Raises:
            CorruptEntryError: The stored actions are damaged; the next fetch starts over.
        """
        if instrument.asset_class != "stock":
            return ()
        book = self._store.actions(instrument.symbol)
        book = _reports_of(book, vendor) if is_alone else book.for_bars_of(vendor)
        book = book.by_date(instrument)
        return known_actions(book, self._days.current(instrument).day, instrument.quote or "")

    def lacks(self, instrument: Instrument, dates: Span, vendor: str | None = None) -> bool:
        """Return whether a stock's actions for some of these ex-dates were never requested.

        Args:
            instrument: The stock; for other instruments, the result is False.
            dates: Ex-dates, as timestamps of session dates.
            vendor: See :meth:`stored`.

        Raises:
            CorruptEntryError: The stored actions are damaged.
        """
        if instrument.asset_class != "stock" or dates.is_empty:
            return False
        return not self._store.actions(instrument.symbol).for_bars_of(vendor).covers(dates)

    def of_rows(self, query: BarsQuery, dates: Span, as_of: date | None) -> KnownActions:
        """Return the actions for an answer's rows, fetching missing ones; see ``action_columns``.

        If a pinned vendor reports its own actions, only those are fetched and used. Otherwise the
        actions from all vendors are used, as they are when its prices are converted. Actions that
        cannot be fetched are unknown, and so are those in doubt. Those up to ``as_of`` are needed,
        too: prices of that date may reflect a split that the vendor reported only after it had been
        queried for the ex-date.

        Args:
            query: Query for bars; if it is offline or for a version, no vendor is queried.
            dates: Ex-dates, as timestamps of session dates.
            as_of: Date that determines which splits the prices and the amounts per share reflect.
        """
        instrument, own, problems = query.instrument, query.action_key, []
        today, until = self._days.current(instrument), dates.end
        if as_of is not None and not dates.is_empty:
            until = max(until, day_ms(as_of) + DAY_MS)
        needed = Span(dates.start, until)
        book = self._book(instrument)
        used = _reports_of(book, own)
        if _lacking(used, needed, as_of, today) and not (query.offline or query.version):
            first, last = date_of(needed.start), date_of(needed.end - 1)
            try:
                problems = list(self.get(instrument, first, last, query).problems)
            except (NoProviderError, AllProvidersFailedError) as error:
                problems = [str(error)]
            book = self._book(instrument)
            used = _reports_of(book, own)
        is_own = is_sample(own) or not _lacking(used, dates, as_of, today, awaits=False)
        used = used if is_own or _lacking(book, dates, as_of, today, awaits=False) else book
        lacking = _lacking(used, needed, as_of, today)
        missing = coalesce([*used.missing(dates), *lacking])
        doubts = _in_doubt(used, dates, as_traded=query.adjustment == "raw")
        is_ahead = bool(missing) and missing[0].start >= today.end
        unknown = "vendors report them after the open" if is_ahead else "they were never requested"
        reasons = [*((problems or [unknown]) if lacking else []), *dict.fromkeys(doubts.values())]
        return KnownActions(
            known_actions(used, as_of or today.day),
            coalesce([*missing, *doubts]),
            [f"splits and dividends are not known for all rows: {'; '.join(reasons)}"]
            * bool(reasons),
        )

    def leave_out_adj_close(self, frame: pd.DataFrame, answer: Answer) -> None:
        """Leave out of an answer's frame the adjusted closes that the actions stored since cast doubt on.

        See :meth:`.ActionBook.sure_adj_close`; the answer was checked with those that it used.
        """
        used, instrument, answer = answer.used.book, answer.query.instrument, as_known(answer)
        book = self._book(instrument)
        if used is None or book is used or "adj_close" not in frame:
            return
        parts = basis_parts(answer.coverage)
        table, reason = book.sure_adj_close(answer.table, parts, instrument)
        if reason:
            frame["adj_close"], facts = table.adj_close, frame.attrs[ATTRS_KEY]
            problems = [*facts["problems"], adj_close_missing(answer.as_of, reason)]
            frame.attrs[ATTRS_KEY] = freeze({**facts, "problems": problems})

    def get(
        self,
        instrument: Instrument,
        first: date | None,
        last: date | None,
        bars: BarsQuery | None = None,
    ) -> FoundActions:
        """Return the actions with an ex-date from ``first`` to ``last``, fetching any that are due.

        If ``bars`` pins a vendor, only that vendor is queried and only its actions count. Ex-dates
        up to the next session are requested once. Each request covers at least two weeks, because
        vendors report some actions days late.

        Raises:
            NoProviderError: No vendor in the rules reports actions, and none was ever queried.
            AllProvidersFailedError: No vendor answered, now or earlier.
        """
        if instrument.asset_class != "stock":
            return FoundActions(instrument.symbol)
        today = self._days.current(instrument)
        start = day_ms(first or _FIRST_DAY)
        end = today.end if last is None else min(today.end, day_ms(last) + DAY_MS)
        wanted = Span(start, max(start, end))
        own, journal, problems = bars.action_key if bars is not None else None, Journal(), []
        book = _reports_of(self._book(instrument), own)
        # Amounts are converted with all splits since.
        if _unasked(book, wanted, today.day, today):
            request = self._request(instrument, bars)
            series = SeriesStore(self._store, self._clock, request.key, request.query)
            turn = SeriesKey(instrument.symbol, _DAILY, ("actions",))
            with recorded_call(), self._locks.hold(turn, self._clock), self._turns.hold(turn):
                missing = _unasked(_reports_of(series.book(), own), wanted, today.day, today)
                if missing:  # one query, because missing parts are nearly always at the two ends
                    first_ms = min(missing[0].start, today.end - LATE_BY_MS)
                    fetcher = ActionFetcher(self._clock, request, series, journal)
                    fetcher.fetch(Span(first_ms, today.end))
            book = _reports_of(series.book(), own)
            if book.missing(wanted, today.news_ms) and not book.answers:
                raise _failure(request, journal)
            problems = [*series.problems, *journal.problems]
        missing = _unasked(book, wanted, today.day, today)
        if missing:
            log.warning("splits and dividends for %s: %s", instrument.symbol, problems)
        window = Span(start, NEVER_MS if last is None else day_ms(last) + DAY_MS)
        actions = known_actions(book, today.day, instrument.quote or "")
        inside = tuple(known for known in actions if day_ms(known.action.ex_date) in window)
        awaited = subtract(book.missing(wanted), missing)
        attempts = journal.side_attempts
        return FoundActions(instrument.symbol, inside, attempts, missing, awaited, problems)

    def _book(self, instrument: Instrument) -> ActionBook:
        """Return the book of stored actions; if it is damaged, return an empty one.

        The next fetch then starts over.
        """
        try:
            return self._store.actions(instrument.symbol).by_date(instrument)
        except CorruptEntryError:
            return ActionBook()

    def _request(self, instrument: Instrument, bars: BarsQuery | None) -> LaneRequest:
        """Return a request for actions only, to the vendor that ``bars`` pins, if any."""
        now_ms = self._clock.now_ms()
        query = BarsQuery(instrument, _DAILY, Span(now_ms, now_ms + 1), now_ms)
        if bars is not None:
            query = replace(query, provider=bars.provider, folder_lane=bars.folder_lane)
        candidates = tuple(candidates_of(self._selector, query))
        lane = LaneRoute((), candidates, Kind(), tuple(c for c in candidates if c.tells_actions))
        key = SeriesKey(instrument.symbol, _DAILY)
        return LaneRequest(query, key, lane, grid_for(instrument, _DAILY))


def known_actions(book: ActionBook, day: date, currency: str = "") -> tuple[KnownAction, ...]:
    """Return a book's actions ordered by ex-date, with amounts both as paid and as of ``day``.

    Amounts as of ``day`` are in terms of the shares on that day. ``currency`` is the currency of
    the prices, if known.
    """
    splits = [action for action in book.splits if action.is_sound]

    def entry(action: Action, event: ActionEvent) -> KnownAction:
        """Return the action with its amount both in terms of the shares on ``day`` and as paid."""
        known = KnownAction(
            action,
            counts=event.counts,
            is_settled=event.is_settled,
            others=dissent_of(event, action),
        )
        if action.type == "split" or not action.is_sound:
            return known
        amount, paid = (float(amount_on(action, splits, on)) for on in (day, None))
        # The vendor of the amount may not report the pay date, so reports of vendors that agree
        # with it are used, too.
        agreeing = [action, *(a for a in event.reports if a.ex_date == action.ex_date)]
        gain = next((a for a in agreeing if a.gain and a not in event.dissent(action)), action)
        return replace(
            known,
            amount=amount,
            paid=paid,
            currency=action.currency or currency,
            pay_date=next((report.pay_date for report in agreeing if report.pay_date), ""),
            gain_share=gain.gain_share,
        )

    withdrawn = [
        KnownAction(lack.action, counts=False, others={lack.action.source: "withdrawn"})
        for lack in book.withdrawn
    ]
    events = [entry(event.action(), event) for event in book.events]
    return tuple(sorted([*events, *withdrawn], key=lambda known: known.action.ex_date))


def _lacking(
    book: ActionBook, dates: Span, as_of: date | None, today: TradingDay, *, awaits: bool = True
) -> list[Span]:
    """Return the ex-dates in ``dates`` for which a book's actions are not enough, ascending.

    With ``awaits``, dates whose actions are published only with the bars are not lacking.
    """
    since_ms = today.news_ms if awaits else None
    of_amounts = _of_amounts(book, dates, as_of, today)
    unsure = [day for day, later in of_amounts if book.missing(later, since_ms)]
    return coalesce([*book.missing(dates, since_ms), *unsure])


def _in_doubt(book: ActionBook, dates: Span, *, as_traded: bool) -> dict[Span, str]:
    """Map each ex-date in ``dates`` whose values depend on an action in doubt to the reason.

    These are the action's own date and, for values ``as_traded``, those of earlier dividends that
    reflect a split in doubt.
    """
    found: dict[Span, str] = {}
    for action, *_ in book.doubted:
        days = [a.ex_date for a in book.dividends if a.ex_date < action.ex_date and not a.as_paid]
        for day in [action.ex_date, *(days if as_traded and action.type == "split" else ())]:
            if (span := Span(day_ms(day), day_ms(day) + DAY_MS)).overlaps(dates):
                found[span] = f"{action.source} no longer reports the {action}"
    return found


def _unasked(book: ActionBook, dates: Span, as_of: date | None, today: TradingDay) -> list[Span]:
    """Return the ex-dates to request for the actions in ``dates``, ascending."""
    spans = [dates, *(later for _, later in _of_amounts(book, dates, as_of, today))]
    return coalesce(part for span in spans for part in book.missing(span, today.news_ms))


def _of_amounts(
    book: ActionBook, dates: Span, as_of: date | None, today: TradingDay
) -> Iterator[tuple[Span, Span]]:
    """Yield the ex-date of each dividend in ``dates``, and those of the splits for its amount.

    These lie between the day on which the amount was reported and ``as_of`` or, for amounts as paid
    (None), the dividend's ex-date.
    """
    for action in book.actions:
        ex_date, day = action.ex_date, day_ms(action.ex_date)
        if action.type == "dividend" and action.is_sound and day in dates:
            reported = ex_date if action.as_paid else min(date_of(action.fetched_at), today.day)
            first, last = sorted(max(ex_date, d) for d in (reported, as_of or ex_date))
            later = Span(day_ms(first) + DAY_MS, day_ms(last) + DAY_MS)
            if not later.is_empty:
                yield Span(day, day + DAY_MS), later


def _reports_of(book: ActionBook, vendor: str | None) -> ActionBook:
    """Return the book with only one vendor's reports, or with all of them if ``vendor`` is None."""
    return book if vendor is None else book.only(vendor)


def _days(span: Span) -> dict[str, str]:
    """Return the first and the last date in a span of session dates."""
    return {"start": str(date_of(span.start)), "end": str(date_of(span.end - 1))}


def _failure(request: LaneRequest, journal: Journal) -> NoProviderError | AllProvidersFailedError:
    symbol = request.query.instrument.symbol
    if not request.route.reporters:
        return NoProviderError(
            f"No suitable provider found for the splits and dividends for {symbol}",
            symbol=symbol,
            hint="add a vendor that has them to the rules; see `onetape providers --matrix`",
        )
    reasons = dict.fromkeys(f"{name}: {error}" for name, error in journal.without_actions.items())
    return AllProvidersFailedError(
        f"All providers failed for the splits and dividends for {symbol}: {'; '.join(reasons)}",
        attempts=journal.side_attempts,
        symbol=symbol,
        hint="`onetape doctor` shows which vendors can be reached and which keys are set",
    )
