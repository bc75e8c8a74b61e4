"""The one interface for bars: facade, feeds, jobs and every package above use it, and nothing below.

Questions are typed values (:class:`~..model.query.BarsQuery`, :class:`~..model.series.SeriesKey`);
:meth:`BarsClient.query` makes one out of what users type. Instants are UTC milliseconds, spans are
half-open. No method asks a vendor unless its name says ``get``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ..calendars.calendar import calendar_for, closes_early
from ..calendars.finality import settles_at
from ..calendars.grid import BarGrid
from ..errors import IncompleteDataWarning, UnknownProviderError
from ..model.instant import DAY_MS, MINUTE_MS, date_of, day_ms, parse_iso
from ..model.series import SeriesKey
from ..model.span import Span
from ..model.stored import (
    Calculated,
    CommitNotice,
    ComparedBars,
    CoverageSpan,
    KnownAction,
    LoggedCommit,
    Quarantined,
    SessionHours,
    StoredColumns,
)
from ..model.timeframe import Timeframe
from ..net.deadline import querying_once, run_call, seconds_of
from ..vendors.registry import family_of
from .observer import Enrolled, Observer
from .request import RequestParser, Wishes

# Most programs ask for bars alone: what the other questions need is imported with the first of them.
if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    import pandas as pd

    from ..cache.store import BarStore, SeriesView
    from ..clock import Clock
    from ..config.rules import ValidationRules
    from ..model.capabilities import Supply
    from ..model.coverage import Coverage
    from ..model.explanation import Explanation
    from ..model.instrument import Instrument
    from ..model.kind import AskedSession
    from ..model.plan import Plan
    from ..model.query import BarsQuery
    from ..model.quote import Quote, Quotes
    from ..model.reads import ReadAgain, StoredRead
    from ..model.symbol_changes import SymbolChange
    from ..provider_selector import ProviderSelector
    from .batch import BatchListener
    from .corporate_actions import ActionService, FoundActions
    from .dry_run.planner import RequestPlanner
    from .outline import SeriesOutline as SeriesOutline
    from .quotes import Live, QuoteService
    from .service import BarsService
    from .turns import FindLeases
    from .validity import Expiry

__all__ = ["BarsClient", "Lookup", "Wishes"]

_USUAL = Wishes()
# A session lies within two days of the UTC date that it is named by.
_NEAR = timedelta(days=2)


class Lookup(NamedTuple):
    """What the store answers by itself.

    Attributes:
        provenance: what :meth:`BarsClient.get` tells in ``attrs["onetape"]`` of the answer; None
            where more must be done for it.
        missing: the stretches of the question that are not stored or have expired; the whole of it
            where bars must be looked at again or made of others. Empty with an answer.
        source: Timeframe of the stored bars that the answer is made of, if it is made of others.
    """

    provenance: Mapping[str, Any] | None
    missing: tuple[Span, ...] = ()
    source: Timeframe | None = None

    @property
    def is_hit(self) -> bool:
        """Whether there is an answer."""
        return self.provenance is not None


class BarsClient:
    """Bars of one installation, and what is known about them. Thread-safe.

    Args:
        store: the store of bars.
        selector: what symbols mean, and which vendors are asked.
        clock: the time.
        service: answers questions for bars.
        observer: counts calls and tells of them.
        leases: lets processes fetch one after another.
        expiry, checks: as the service has them, for plans.
    """

    def __init__(
        self,
        store: BarStore,
        selector: ProviderSelector,
        clock: Clock,
        service: BarsService,
        observer: Observer,
        leases: FindLeases | None,
        expiry: Expiry,
        checks: ValidationRules,
    ) -> None:
        self._store, self._clock, self._service = store, clock, service
        self._selector = selector
        self._parser = RequestParser(selector, clock)
        self._observer, self._leases = observer, leases
        self._terms = expiry, checks

    @property
    def clock(self) -> Clock:
        """The time of all calls."""
        return self._clock

    # --- questions -------------------------------------------------------------------------

    def query(
        self,
        symbol: Any,
        timeframe: Any,
        start: Any = None,
        end: Any = None,
        bars: int | None = None,
        wishes: Wishes = _USUAL,
    ) -> BarsQuery:
        """Return the checked question for what a user typed; nothing is read or asked.

        Args:
            symbol, timeframe: such as ``AAPL``, ``1h``.
            start, end: as for ``DataManager.get_ohlcv``: datetimes are UTC instants (naive means
                UTC), both inclusive on the open stamp; dates are whole session dates of the venue.
            bars: the last so many closed bars up to the end; not together with ``start``.
            wishes: how they are wanted: vendor, adjustment, version, columns and so on.

        Returns:
            The question; its ``span`` is half-open, in UTC milliseconds, and ends now at the latest.

        Raises:
            QueryError: an argument cannot be understood (a ``ValueError``).
            UnknownProviderError: the pinned vendor does not exist.
        """
        return self._parser.query(symbol, timeframe, (start, end, bars), wishes)

    # --- bars ------------------------------------------------------------------------------

    def get(self, query: BarsQuery) -> pd.DataFrame:
        """Return bars, from the store where held, from vendors where not.

        Returns:
            The frame of ``DataManager.get_ohlcv``: naive UTC index ``timestamp`` (open stamps, ns,
            ascending, unique), float64 columns ``open high low close volume`` and ``adj_close``
            where known, then ``query.columns``; its account in ``attrs["onetape"]``. It is the
            caller's own.

        Raises:
            NoProviderError: no vendor is configured for it and nothing is stored.
            AllProvidersFailedError: bars were missing, no vendor supplied them, nothing is stored.
            IncompleteDataError: ``strict``, and the answer lacks something.
            QueryError: there is no such version of the series, or it is not kept any more.

        Warns:
            IncompleteDataWarning: it lacks something, without ``strict``; once a call.
        """
        return self._service.get(query)

    def get_provenance(self, query: BarsQuery) -> Mapping[str, Any]:
        """Do what :meth:`get` does, and return what its ``attrs["onetape"]`` tells; no frame is made.

        What the answer lacks is told there alone: nothing is logged or warned of.

        Raises:
            NoProviderError, AllProvidersFailedError, QueryError: as :meth:`get`.
        """
        from .answer.answer import as_known, provenance

        return provenance(as_known(self._service.answered(query)))

    def get_batch(self, queries: Sequence[BarsQuery]) -> list[pd.DataFrame]:
        """Return one frame for each question, in the order given.

        What is held is read in the caller's thread, what must be fetched by a few threads. A
        question that failed has an empty frame, its error (``type``, ``message``, ``reason``,
        ``brief``, ``candidates``) in ``attrs["onetape"]["error"]``; nothing is raised for it.
        """
        from .batch import get_batch

        return get_batch(self._service, queries)

    def get_missing(self, queries: Sequence[BarsQuery]) -> None:
        """Get what is missing for some questions into the store, a few at a time.

        What could not be got is not an error here: :meth:`get` of the same question reports it.
        """
        from .batch import get_missing

        get_missing(self._service, queries)

    def as_one_call(self) -> AbstractContextManager[None]:
        """Return a block in which no vendor that was down is queried again for the same symbol.

        A later question in it is answered without that vendor, and reports its failure.
        """
        return querying_once()

    def get_by_symbol(
        self,
        symbols: Sequence[str],
        timeframe: Any,
        bounds: tuple[Any, Any, Any],
        wishes: Wishes = _USUAL,
        listener: BatchListener | None = None,
    ) -> dict[str, pd.DataFrame]:
        """Return symbol, as it was typed, to frame: :meth:`query` and :meth:`get_batch` in one.

        A symbol that cannot be understood has an empty frame with its error, as a failed one has.

        Args:
            symbols: such as ``["AAPL", "BTCUSDT"]``; each is answered once.
            timeframe, wishes: as for :meth:`query`.
            bounds: start, end and number of bars as for :meth:`query`.
            listener: is told of those that vendors are asked for.

        Raises:
            QueryError: an argument that all symbols share is wrong.
        """
        from .batch import get_by_symbol

        shared = timeframe, bounds, wishes
        return get_by_symbol(self._parser, self._service, symbols, shared, listener)

    def lookup(self, query: BarsQuery) -> Lookup:
        """Return what the store tells of its answer, or what is missing; no vendor is ever asked.

        The first steps of :meth:`get` alone: documents are compared, bars are read and no frame is made
        of them, and no fetch of others is waited for. So it finds no answer where one takes more than
        that: for a running bar, a refresh, a timeframe that is made out of another and was not asked
        for before. ``get`` of the same question with ``offline`` gives what the store has for these.

        Raises:
            QueryError: there is no such version of the series, or it is not kept any more.
            CacheError: the store cannot be read.
        """
        from .answer.answer import as_known, provenance
        from .lookup import Derived, Hit, PartialHit

        result = self._service.lookup(query, with_frame=False)
        if isinstance(result, Hit):
            return Lookup(provenance(as_known(result.answer)))
        if isinstance(result, Derived):
            return Lookup(None, (query.span,), result.source)
        return Lookup(None, result.missing if isinstance(result, PartialHit) else (query.span,))

    def calculate(self, query: BarsQuery, source: Timeframe, *, anew: bool = False) -> Calculated:
        """Store the longer bars that all stored ``source`` bars make up; no vendor is asked.

        They are kept in a lane of their own (``1h@from-1m``), out of which no question is answered,
        with the vendors and states of their parts. A query for extended hours makes them of minutes of
        extended hours (``1h@extended@from-1m``). Days of a market with sessions lack its auctions.

        Args:
            query: their symbol and timeframe; its span does not count.
            source: what they are made of.
            anew: drop what was calculated before first.

        Raises:
            QueryError: such bars are not made of ``source`` bars.
            NoDataError: no ``source`` bar is stored, or not one whole bar can be made of them.
            KindMismatchError: they stand in hours, or are days, that the calendar cannot make.
            CacheError: the store cannot be read or written.
        """
        from .derive.calculated import Calculator

        calculator = Calculator(self._store, self._service.lanes, self._service.answered)
        return calculator.calculate(query, source, anew=anew)

    def plan(self, query: BarsQuery) -> Plan:
        """Return what :meth:`get` would do: held, missing, requests, quota, waits; see ``Plan``.

        No vendor is asked and nothing is written; damage reads as a repair would leave it.

        Raises:
            CacheError: the store cannot be read.
        """
        return self._planner().plan(query)

    def explain(self, query: BarsQuery) -> Explanation:
        """Return which vendors are asked for a series and why, which are not, and how they stand.

        No vendor is asked and nothing is written.

        Raises:
            CacheError: the store cannot be read.
        """
        from .dry_run.explain import explain

        return explain(self._planner(), query)

    def supply(self, query: BarsQuery) -> Supply:
        """Return which vendor is asked first for a series, and how far back its vendors go.

        No vendor is asked. Health and quota do not count: that is what :meth:`plan` is for.
        """
        return self._selector.supply(query.instrument, query.timeframe, query.provider)

    def requests(self) -> Mapping[str, tuple[int, int]]:
        """Return vendor to the requests sent to it by this process, and how many it answered."""
        vendors = self._observer.metrics.snapshot()["vendors"]
        return {name: (counts["requests"], counts["ok"]) for name, counts in vendors.items()}

    def _planner(self) -> RequestPlanner:
        """Return what plans one request, by the store as it is now."""
        from .dry_run.planner import RequestPlanner

        return RequestPlanner(self._store.preview(), self._selector, self._clock, *self._terms)

    # --- what is known of a series ---------------------------------------------------------

    def coverage(self, series: SeriesKey) -> tuple[CoverageSpan, ...]:
        """Return what is known of a series, stretch by stretch, ascending and disjoint.

        Between the stretches no vendor was ever asked. Of a series that is not stored: nothing.
        ``next_due`` of a stretch is UTC milliseconds, None where asking again cannot change it.

        Raises:
            CacheError: the store cannot be read.
        """
        view = self._told(series)
        return tuple(_spans(view, view.coverage))

    def outline(self, series: SeriesKey) -> SeriesOutline:
        """Return the coverage of a series with its lifetime and its calendar, of one moment.

        Raises:
            CacheError: the store cannot be read.
            QueryError: the symbol means nothing by the rules.
        """
        from .outline import outline_of

        return outline_of(self._told(series), self.instrument(series))

    def instrument(self, series: SeriesKey) -> Instrument:
        """Return what a stored series is of, in the hours that its bars are of.

        Raises:
            QueryError: the symbol means nothing by the rules.
        """
        return self._selector.instrument(series.symbol).in_session(series.session)

    def _told(self, series: SeriesKey) -> SeriesView:
        """Return what is stored of a series; all of it in doubt where its files have changed since."""
        view = self._store.view(series)
        if not series.of_folder:
            return view
        instrument = self._selector.instrument(series.symbol)
        return self._service.lanes.sources.as_now(instrument, view, self._clock.now_ms())

    def series_of(self, query: BarsQuery) -> SeriesKey:
        """Return the series whose bars answer ``query``: the pinned vendor's, or that of the rules.

        That is the series of the first vendor of the rules that serves the query, whatever else is
        stored; it need not be stored itself. No vendor is asked.

        Raises:
            CacheError: the store cannot be read.
        """
        return self._service.lanes.find(query).key

    def question_for(self, series: SeriesKey, start: Any, end: Any) -> BarsQuery | None:
        """Return a question for a range that is answered out of a series; no vendor is asked.

        It names no vendor where the rules lead to the series, else the one whose lane it is. None
        where no question by the rules at hand is answered out of it.

        Args:
            series: which is stored.
            start, end: as of :meth:`query`.

        Raises:
            QueryError: the symbol means nothing by the rules, or the range is none.
            CacheError: the store cannot be read.
        """
        names: Iterable[str] = series.lane[:1]
        if series.of_folder:
            family = series.of_folder.partition(".")[0]
            vendors = dict.fromkeys(part.vendor for part in self._store.view(series).coverage)
            names = (*(name for name in vendors if family_of(name) == family), family)
        for name in (None, *names):
            wishes = Wishes(provider=name, session=series.session)
            try:
                query = self.query(series.symbol, series.timeframe, start, end, wishes=wishes)
            except UnknownProviderError:
                continue
            if self.series_of(query) == series:
                return query
        return None

    def lanes(self, symbol: str, timeframe: Timeframe) -> list[SeriesKey]:
        """Return the stored series of a symbol and timeframe in all their lanes.

        That which answers by the rules comes first, then the default one.

        Args:
            symbol: canonical, as ``query().instrument.symbol`` has it.
            timeframe: length of the bars.

        Raises:
            CacheError: the store cannot be read.
        """
        keys = self._store.lanes(symbol, timeframe)
        first = self.answering(keys)
        return [*first, *(key for key in keys if key not in first)]

    def answering(
        self, keys: Iterable[SeriesKey], session: AskedSession = "regular"
    ) -> list[SeriesKey]:
        """Return those of some series that answer by the rules: at most one a symbol and timeframe.

        Where only the default lane of them is among ``keys`` it is that, of whatever kind it is.
        Where the lane of the rules is not, it is the default one.

        Args:
            keys: stored series.
            session: the hours of the bars in question.

        Raises:
            CacheError: the store cannot be read.
        """
        wishes = Wishes(session=session)
        if session == "extended":
            keys = [key for key in keys if key.is_extended and not key.made_of]

        def ask(symbol: str, timeframe: Timeframe) -> BarsQuery:
            """Return the usual question for a series."""
            return self.query(symbol, timeframe, wishes=wishes)

        return self._service.lanes.answering(keys, ask)

    def columns(self, series: SeriesKey, span: Span, *, is_use: bool = True) -> StoredColumns:
        """Return the stored bars whose open stamps lie in ``span``, as columns, with the generation.

        ``table.stamps`` is int64 UTC milliseconds, prices and volume are float64, ``adj_close`` too
        or None. They are as they were fetched: ``coverage`` says what each part was adjusted for;
        :meth:`get` brings them to one adjustment. The arrays cannot be written to, and are views of
        the mapped columns where these are kept: nothing is copied. They stay what they are whatever
        is committed later. A commit meanwhile is waited for: bars and generation belong together. With
        ``is_use`` bars that were read lately are not evicted.

        Raises:
            CacheError: the store cannot be read.
        """
        view, table, coverage, _ = self._store.stretch(series, span, is_use=is_use)
        parts = tuple(_spans(view, coverage))
        return StoredColumns(series, view.generation, table.read_only(), parts)

    def series(self, pattern: str = "*") -> list[SeriesKey]:
        """Return the stored series that match, by symbol, timeframe and lane.

        What older tools left is among them once it has been taken over.

        Args:
            pattern: a shell pattern (``*``, ``?``, ``[...]``) of a symbol (``BTC*``), or of a symbol,
                a blank and a timeframe with its lane, if any (``* 1d``, ``AAPL 1d@raw``); upper and
                lower case differ.

        Raises:
            StorageError: the cache folder cannot be read.
        """
        is_whole = " " in pattern
        return [
            key
            for key in self._store.keys()
            if fnmatchcase(str(key) if is_whole else key.symbol, pattern)
        ]

    def commits(self, series: SeriesKey) -> list[LoggedCommit]:
        """Return the logged commits to a series, oldest first, deletions among them.

        The log is not made durable: it may lack the last commits before a power loss, and makes one
        entry of many that are old.

        Raises:
            CacheError: the store cannot be read.
        """
        pinned = self._store.pins(series)
        return [
            LoggedCommit(
                entry["generation"],
                parse_iso(entry["time"]) if entry["time"] else None,
                entry["vendor"],
                Span(*entry["span"]) if entry["span"] else None,
                entry["added"],
                entry["changed"],
                entry["removed"],
                tuple(entry["years"]),
                entry["deleted"] or "",
                entry["recovered"],
                entry["kept"],
                entry["generation"] in pinned,
            )
            for entry in self._store.commits(series)
        ]

    def confirmations(self, series: SeriesKey) -> tuple[ComparedBars, ...]:
        """Return what of a series was compared with a second vendor, as far as it stands.

        What was compared before its bars or splits changed stands no longer.

        Raises:
            FormatVersionError: a newer version of this library keeps them.
            CacheError: the store cannot be read.
        """
        return tuple(
            ComparedBars(
                one.span,
                one.vendor,
                one.at,
                one.rows,
                one.confirmed,
                one.contradicted,
                one.first,
                one.said,
            )
            for one, stands in self._store.confirmations(series)
            if stands
        )

    def mark(
        self,
        series: SeriesKey,
        generation: int,
        doubts: Sequence[tuple[Span, str]],
        ended: Sequence[Span],
    ) -> bool:
        """Store what a look at the whole series has shown, durably; every answer has it from then on.

        The bars stay as they are. They are fetched again after an hour, a day and a week, as bars that
        are judged as they come.

        Args:
            series: which.
            generation: The one that was looked at.
            doubts: Stretches of final bars that are wrong for certain, each with the reason.
            ended: Marked stretches that nothing is wrong with any more: they are final again.

        Returns:
            Whether it was stored; False if the series has changed since.

        Raises:
            CacheError: The store cannot be written.
        """
        from ..cache.values import Commit, SeriesChangedError
        from ..model.coverage import Covered
        from .ingest.judge import WAITS_MS

        now = self._clock.now_ms()
        marks = [Covered(span, "final") for span in ended]
        marks += [
            Covered(span, "suspect", fetched_at=now, reason=reason, expires=now + WAITS_MS[0])
            for span, reason in doubts
        ]
        try:
            self._store.commit(series, Commit(marks=tuple(marks), at_generation=generation))
        except SeriesChangedError:
            return False
        return True

    def quarantined(self, series: SeriesKey) -> Quarantined:
        """Return what of a series is kept aside, and why; nothing is repaired for it.

        Raises:
            StorageError: the store cannot be read.
        """
        rows, files = self._store.quarantined(series)
        return Quarantined(
            tuple((row.bar, row.reason) for row in rows),
            tuple((file.path.name, file.reason) for file in files),
        )

    # --- last prices -----------------------------------------------------------------------

    def get_quote(
        self,
        symbol: Any,
        max_age: Any = 5.0,
        timeout: Any = None,
        live: Live | None = None,
        session: Any = "regular",
    ) -> Quote:
        """Return the last price of a symbol; see ``DataManager.get_quote``.

        Args:
            symbol, max_age, timeout, session: as there.
            live: gives the newest price of a running stream for an instrument, where there is one.

        Raises:
            QueryError: an argument cannot be understood.
            NoProviderError, AllProvidersFailedError, NoDataError: no price is known.
        """
        return self._quotes.get(symbol, max_age, timeout, live, session)

    def get_quotes(
        self,
        symbols: Sequence[str],
        max_age: Any = 5.0,
        timeout: Any = None,
        live: Live | None = None,
        session: Any = "regular",
    ) -> Quotes:
        """Return the last prices of many symbols; see ``DataManager.get_quotes``.

        Raises:
            QueryError: an argument that all symbols share is wrong.

        Warns:
            IncompleteDataWarning: some could not be had.
        """
        return self._quotes.get_many(symbols, max_age, timeout, live, session)

    @cached_property
    def _quotes(self) -> QuoteService:
        from .quotes import QuoteService

        # Of two that are made at once one is kept, for all: it is what lets one thread ask at a time.
        service: QuoteService = self.__dict__.setdefault(
            "_quote_service",
            QuoteService(self._service, self._parser, self._selector, self._clock, self._observer),
        )
        return service

    # --- versions and changes --------------------------------------------------------------

    def pin(self, series: SeriesKey, generation: int) -> None:
        """Keep what it takes to read a series as it stood after commit ``generation``.

        ``get`` of a question with that ``version`` gives the bars from then on, whatever is revised,
        compacted, or dropped to keep the limit or the age of the cache. A pin is durable and holds
        for every process that works on the folder until :meth:`unpin`; setting it twice sets it
        once. A call that deletes bars (``clear``) deletes pinned ones, too.

        Args:
            series: which.
            generation: as ``columns(series, span).generation`` or ``attrs["onetape"]`` has it.

        Raises:
            QueryError: there is no such generation, or it is not kept any more.
            LockTimeoutError, StorageError: it is not pinned.
        """
        self._store.pin(series, generation)

    def unpin(self, series: SeriesKey, generation: int) -> None:
        """Let a pinned generation go; the next rewrite of a year drops what only it needed.

        Without such a pin nothing happens. A pin has no owner: it is gone for every program that set it.

        Raises:
            LockTimeoutError, StorageError: the pin stays.
        """
        self._store.unpin(series, generation)

    def read_again(self, read: StoredRead) -> ReadAgain:
        """Return stored bars once more: of a generation, and by the splits and dividends, that are named.

        With both of a recorded read the bars are those of then, bit for bit. No vendor is asked. Bars
        that were never stored (running ones, rows that cannot be bars) are not among them, nor are those
        before a dividend that cannot be applied.

        Raises:
            QueryError: there is no such generation, or it is not kept any more.
            KindMismatchError: by today's splits and dividends they cannot be brought to the adjustment.
            UnknownProviderError: the pinned vendor does not exist any more.
            CacheError: the store cannot be read.
        """
        from .read_again import read_again

        wishes = Wishes(read.provider, read.adjustment, offline=True, session=read.series.session)
        query = self.query(read.series.symbol, read.series.timeframe, bars=1, wishes=wishes)
        return read_again(self._store, self._clock, query, read)

    @property
    def folder(self) -> Path:
        """The cache folder."""
        return self._store.root

    def subscribe(self, callback: Callable[[CommitNotice], object]) -> Callable[[], None]:
        """Have ``callback`` called with every commit of bars to this cache folder as it happens.

        Told are commits of this process, whichever manager, feed or cache object makes them; of those of
        other processes ``commits`` and the generation of ``columns`` tell. Deletions are no commits.

        It runs in the thread that committed, once the commit is durable and its lock is released;
        that thread waits for it. It must not ask for the same series there: it should hand the
        notice on and return. What it raises is logged once, and hurts neither commit nor answer.

        Returns:
            A function that takes it out again.
        """
        return self._store.commit_feed.subscribe(Enrolled(callback).tell)

    # --- splits and dividends, sessions ----------------------------------------------------

    def actions(self, symbol: str, vendor: str | None = None) -> tuple[KnownAction, ...]:
        """Return the stored splits and dividends of a symbol, by ex-date; no vendor is asked.

        Those that do not count are among them (``counts``). Of what is no share: nothing. For bars
        of a vendor of samples its own count, and no others.

        Raises:
            QueryError: the symbol cannot be understood.
            CorruptEntryError: they are damaged; :meth:`get_actions` fetches them again.
        """
        return self._action_service.stored(self._selector.instrument(symbol), vendor)

    def lacks_actions(self, symbol: str, dates: Span, vendor: str | None = None) -> bool:
        """Return True if a share's actions of some of these ex-dates were never requested.

        Args:
            symbol: As the user types it.
            dates: The ex-dates, as stamps of session dates.
            vendor: As for :meth:`actions`.

        Raises:
            QueryError: The symbol cannot be understood.
            CorruptEntryError: The stored actions are damaged.
        """
        return self._action_service.lacks(self._selector.instrument(symbol), dates, vendor)

    def get_actions(
        self,
        symbol: str,
        first: date | None = None,
        last: date | None = None,
        timeout: float | None = None,
    ) -> FoundActions:
        """Return splits and dividends, asked for where they are missing or due.

        Args:
            symbol: as the user types it.
            first, last: ex-dates, both included; None: all there are.
            timeout: seconds after which no vendor and no other caller is waited for any more;
                None: 30 s without an answer of any vendor.

        Raises:
            QueryError: the symbol cannot be understood, or ``timeout`` is no time.
            NoProviderError: no vendor of the rules tells any, and none was ever asked.
            AllProvidersFailedError: no vendor answered, and none ever has.

        Warns:
            IncompleteDataWarning: for some ex-dates no vendor could be asked; ``lacking`` has them.
        """
        instrument = self._selector.instrument(symbol)
        with self._observer.call_beside(symbol, "1d"):
            seconds, get = seconds_of(timeout, symbol), self._action_service.get
            result = run_call(self._clock, seconds, get, instrument, first, last)
        if result.lacking:
            from ..model.caller import warn_user

            why = "; ".join(dict.fromkeys(result.problems)) or "no vendor in the rules serves them"
            warn_user(f"splits and dividends of {instrument.symbol}: {why}", IncompleteDataWarning)
        return result

    def symbol_changes(self, symbol: str) -> tuple[SymbolChange, ...]:
        """Return the recorded changes of what a symbol names, by date; no vendor is asked.

        Raises:
            QueryError: the symbol cannot be understood.
            CorruptEntryError: they are damaged; recording them again mends that.
        """
        return self._store.actions(self._selector.instrument(symbol).symbol).changes

    def record_symbol_changes(
        self, changes: Mapping[str, Sequence[SymbolChange]]
    ) -> tuple[str, ...]:
        """Record when symbols changed what they name, durably; bars stay as they are.

        Errors and gaps of a former name tell its successor from then on, to all programs that use the
        folder. A name that was never fetched gets its folder by this alone. Recorded again, nothing is
        written. Killed half-way, some of the symbols have them and the others do not.

        Args:
            changes: symbol to all changes that concern it, in any order; they take the place of those
                recorded before, none of them forgets these.

        Returns:
            The symbols whose changes were others before.

        Raises:
            QueryError: a symbol cannot be understood, or a change is impossible; nothing is recorded.
            LockTimeoutError, StorageError, FormatVersionError: that of one symbol is not recorded.
        """
        from .symbol_changes import checked

        sound = checked(changes, self._selector.instrument, self._clock.now_ms())
        store = self._store
        return tuple(name for name, mine in sound.items() if store.record_changes(name, mine))

    @property
    def _action_service(self) -> ActionService:
        return self._service.actions()

    def sessions(self, instrument: Instrument, span: Span) -> tuple[SessionHours, ...]:
        """Return the sessions that trade at any time of ``span`` (UTC milliseconds), ascending.

        By the market's calendar alone, the future included; a market that never closes has one for
        each UTC day.

        Raises:
            ConfigError: there is no such calendar.
        """
        calendar = calendar_for(instrument)
        around = calendar.sessions(date_of(span.start) - _NEAR, date_of(span.end) + _NEAR)
        near = [s for s in around if s.open_ms < span.end and span.start < s.close_ms]
        stamps, grid = (
            [day_ms(session.day) for session in near],
            BarGrid(calendar, Timeframe(1, "d")),
        )
        settled = [settles_at(stamp, grid, 2 * MINUTE_MS) for stamp in stamps]
        unknown = calendar.unrecorded(Span(stamps[0], stamps[-1] + DAY_MS)) if near else ()
        recorded = [not any(day_ms(s.day) in part for part in unknown) for s in near]
        early = (closes_early(instrument, s) for s in near)
        return tuple(
            SessionHours(s.day, s.open_ms, s.close_ms, s.breaks, is_early, due, is_known)
            for s, is_early, due, is_known in zip(near, early, settled, recorded, strict=True)
        )


def _spans(view: SeriesView, coverage: Coverage) -> Iterator[CoverageSpan]:
    """Yield what is known of a part of a series."""
    for part in coverage.opened():
        due = part.expires
        if part.state == "provisional" and due is None:
            # A closed bar may change until it has settled: then the whole series is due.
            due = view.next_due or part.fetched_at
        yield CoverageSpan(
            part.span,
            part.state,
            part.vendor,
            part.reason,
            part.basis,
            part.fetched_at,
            part.expires,
            due,
        )
