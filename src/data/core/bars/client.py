"""The interface for bars, which the facade, feeds, jobs and all packages above use exclusively.

Queries are typed values (:class:`~.query.BarsQuery`, :class:`~.identity.series.SeriesKey`);
:meth:`BarsClient.query` builds one from user input. Instants are UTC milliseconds, spans are
half-open. No method queries a vendor unless its name contains ``get``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import replace
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import DataError, IncompleteDataWarning, UnknownProviderError
from ..cache.values import Commit, SeriesChangedError, SeriesView
from ..calendars.calendar import calendar_for, closes_early, opened_day
from ..calendars.finality import settles_at
from ..calendars.grid import BarGrid
from ..model.identity.series import SeriesKey
from ..model.stored.coverage import Covered
from ..model.time.instant import DAY_MS, MINUTE_MS, date_of, day_ms, parse_iso
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe
from ..model.words.caller import warn_user
from ..net.calls.deadline import querying_once, run_call, seconds_of
from ..registry import family_of
from ..runtime.once import cached_property
from .answer.answer import as_known, provenance
from .observer import EnrolledListener, Observer
from .request import RequestParser, Wishes

# Most programs only request bars, so the modules for other queries are imported on first use.
if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    import pandas as pd

    from ..cache.acceptances import Acceptances
    from ..cache.store import BarStore
    from ..clock import Clock
    from ..config.rules import ValidationRules
    from ..model.answer.reads import ReadAgain, StoredRead
    from ..model.identity.instrument import Instrument
    from ..model.identity.kind import AskedSession
    from ..model.identity.symbol_changes import SymbolChange
    from ..model.market.quote import Quote, Quotes
    from ..model.request.capabilities import Supply
    from ..model.request.explanation import Explanation
    from ..model.request.plan import Plan
    from ..model.request.query import BarsQuery
    from ..model.stored.coverage import Coverage
    from ..model.stored.stored import (
        Calculation,
        CommitNotice,
        CoverageSpan,
        KnownAction,
        LoggedCommit,
        Quarantined,
        SessionHours,
        StoredColumns,
    )
    from ..provider_selector import ProviderSelector
    from .answer.answer import Rows as Rows
    from .batch import BatchListener
    from .corporate_actions import ActionService, FoundActions
    from .dry_run.planner import RequestPlanner
    from .figures.quotes import Live, QuoteService
    from .outline import SeriesOutline as SeriesOutline
    from .service import BarsService
    from .turns import FindLeases
    from .validity import Expiry

__all__ = ["BarsClient", "Lookup", "Wishes"]

_DEFAULT_WISHES = Wishes()
# Every session is within two days of its date in UTC.
_TWO_DAYS = timedelta(days=2)


class Lookup(NamedTuple):
    """The answer to a query from the store alone.

    Attributes:
        provenance: Entries that :meth:`BarsClient.get` would put in ``attrs["onetape"]`` of the
            answer; None if the store cannot answer by itself.
        missing: Spans of the query that are not stored or have expired. Empty if there is an
            answer; the whole span if bars must be re-examined or built from others.
        source: Timeframe of the stored bars from which the answer is built; None if it is not built
            from others.
    """

    provenance: Mapping[str, Any] | None
    missing: tuple[Span, ...] = ()
    source: Timeframe | None = None

    @property
    def is_hit(self) -> bool:
        """Whether the store can answer the query without a vendor."""
        return self.provenance is not None


class StoredAnswer(NamedTuple):
    """The answer that the store alone would give to a query at this moment.

    Attributes:
        series: Series and kind that answer the query; the kind is empty if no vendor has declared
            it.
        digest: Digest of the commit, the splits and dividends, and the range that the bars come
            from; it is the same in every process. Equal digests mean equal bars. Empty if the store
            cannot answer, or if the bars are built from others.
        until_ms: Time until which no vendor could change the answer.
        is_whole: Whether the answer is complete.
        is_stored: Whether any part of the range is stored, whatever its state.
    """

    series: str = ""
    digest: str = ""
    until_ms: int = 0
    is_whole: bool = False
    is_stored: bool = True


class BarsClient:
    """Client for the bars of an installation, with their coverage, actions and history. Thread-safe.

    Args:
        store: Store for bars.
        selector: Resolves symbols and selects vendors.
        clock: Source of the current time.
        service: Answers queries for bars.
        observer: Counts and reports calls.
        leases: Ensures that only one process at a time fetches a series.
        expiry, checks: Settings of the service, which plans also need.
    """

    _opened_ms: int | None = None

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
        """The clock that all calls use."""
        return self._clock

    def at(self, known_ms: int, opened_ms: int) -> BarsClient:
        """Return a client whose queries are answered as of a time that has passed.

        Such queries return bars that had closed by then, adjusted for the splits and dividends whose
        ex-date had come; bounds are relative to that time. Store, vendors and limits are shared.

        Args:
            known_ms: The time, in UTC milliseconds.
            opened_ms: Latest opening time of a session whose splits and dividends had come.
        """
        client = copy(self)
        client._parser, client._opened_ms = self._parser.at(known_ms, opened_ms), opened_ms
        return client

    # --- queries ---------------------------------------------------------------------------

    def query(
        self,
        symbol: Any,
        timeframe: Any,
        start: Any = None,
        end: Any = None,
        bars: int | None = None,
        wishes: Wishes = _DEFAULT_WISHES,
    ) -> BarsQuery:
        """Return the validated query for user input; nothing is read or requested.

        Args:
            symbol, timeframe: For example ``AAPL``, ``1h``.
            start, end: See ``DataManager.get_ohlcv``. Datetimes are instants (naive ones are UTC),
                and bars that open at either of them are included; dates are whole session dates of
                the venue.
            bars: Number of closed bars to return, counted back from the end; not together with
                ``start``.
            wishes: Other options: vendor, adjustment, version, columns and so on.

        Returns:
            The query; its ``span`` is half-open, in UTC milliseconds, and ends now at the latest.

        Raises:
            QueryError: An argument is invalid (a ``ValueError``).
            UnknownProviderError: The pinned vendor does not exist.
        """
        return self._parser.query(symbol, timeframe, (start, end, bars), wishes)

    # --- bars ------------------------------------------------------------------------------

    def get(self, query: BarsQuery) -> pd.DataFrame:
        """Return bars from the store or, if it lacks them, from vendors.

        Returns:
            The frame of ``DataManager.get_ohlcv``: naive UTC index ``timestamp`` (open times, ns,
                ascending, unique), float64 columns ``open high low close volume`` and ``adj_close``
                if known, then ``query.columns``; its provenance is in ``attrs["onetape"]``. The
                caller owns it.

        Raises:
            NoProviderError: No vendor is configured for the series and nothing is stored.
            AllProvidersFailedError: Bars were missing, no vendor supplied them, and nothing is
                stored.
            IncompleteDataError: ``strict`` is set and the answer is incomplete.
            QueryError: This version of the series does not exist or is no longer kept.

        Warns:
            IncompleteDataWarning: The answer is incomplete, and ``strict`` is not set; issued once
                per call.
            SeriesEndedWarning: The range reaches behind the end of the series; issued once per
                series and process.
        """
        return self._service.get(query).owned()

    def get_provenance(self, query: BarsQuery) -> Mapping[str, Any]:
        """Get bars like :meth:`get`, but return only ``attrs["onetape"]`` without building a frame.

        Missing bars are reported only in the result; nothing is logged and no warning is issued.

        Raises:
            NoProviderError, AllProvidersFailedError, QueryError: As for :meth:`get`.
        """
        return provenance(as_known(self._service.answered(query)))

    def get_batch(self, queries: Sequence[BarsQuery]) -> list[pd.DataFrame]:
        """Return one frame for each query, in the order given.

        Stored bars are read in the caller's thread; missing ones are fetched by a few threads. A
        query that fails does not raise: it gets an empty frame with the error (``type``,
        ``message``, ``reason``, ``brief``, ``candidates``) in ``attrs["onetape"]["error"]``.
        """
        from .batch import get_batch

        return [rows.owned() for rows in get_batch(self._service, queries)]

    def get_missing(self, queries: Sequence[BarsQuery]) -> None:
        """Fetch the missing bars of queries into the store, a few queries at a time.

        Bars that cannot be fetched are not an error here; :meth:`get` for the same query reports
        them.
        """
        from .batch import get_missing

        get_missing(self._service, queries)

    def as_one_call(self) -> AbstractContextManager[None]:
        """Return a context manager that remembers which vendors are down.

        If a vendor was down for one symbol, later queries in the ``with`` block are answered
        without it and report its failure.
        """
        return querying_once()

    def get_by_symbol(
        self,
        symbols: Sequence[str],
        timeframe: Any,
        bounds: tuple[Any, Any, Any],
        wishes: Wishes = _DEFAULT_WISHES,
        listener: BatchListener | None = None,
    ) -> dict[str, pd.DataFrame]:
        """Return a frame for each symbol, keyed as typed; combines :meth:`query` and :meth:`get_batch`.

        An invalid symbol gets an empty frame with its error, just as a failed query does.

        Args:
            symbols: For example ``["AAPL", "BTCUSDT"]``; duplicates are dropped.
            timeframe, wishes: See :meth:`query`.
            bounds: Start, end and number of bars; see :meth:`query`.
            listener: Notified of the queries that are sent to vendors.

        Raises:
            QueryError: An argument that applies to all symbols is invalid.
        """
        from .batch import get_by_symbol

        shared = (timeframe, bounds, wishes)
        rows = get_by_symbol(self._parser, self._service, symbols, shared, listener)
        return {symbol: table.owned() for symbol, table in rows.items()}

    def get_rows_by_symbol(
        self,
        symbols: Sequence[str],
        timeframe: Any,
        bounds: tuple[Any, Any, Any],
        wishes: Wishes = _DEFAULT_WISHES,
        listener: BatchListener | None = None,
    ) -> dict[str, Rows]:
        """Return the rows for each symbol, for callers that convert them without changing them.

        Half of the time of :meth:`get_by_symbol` is for copies of frames that are kept in memory;
        here they are shared, so the caller must not change them. Their values are read-only.

        Args:
            symbols, timeframe, bounds, wishes, listener: See :meth:`get_by_symbol`.

        Raises:
            QueryError: An argument that applies to all symbols is invalid.
        """
        from .batch import get_by_symbol

        shared = (timeframe, bounds, wishes)
        return get_by_symbol(self._parser, self._service, symbols, shared, listener)

    def lookup(self, query: BarsQuery) -> Lookup:
        """Return the answer from the store alone, or the missing spans; never queries a vendor.

        This performs only the first steps of :meth:`get`: it compares documents, reads bars without
        building a frame, and does not wait for another caller's fetch. There is no answer to a
        query for a forming bar, for a refresh, or for a timeframe that is built from another one
        and was not requested before. In these cases, :meth:`get` for the same query with
        ``offline`` returns the bars that are stored.

        Raises:
            QueryError: This version of the series does not exist or is no longer kept.
            CacheError: The store cannot be read.
        """
        from .lookup import Derived, Hit, PartialHit

        result = self._service.lookup(query, with_rows=False)
        if isinstance(result, Hit):
            return Lookup(provenance(as_known(result.answer)))
        if isinstance(result, Derived):
            return Lookup(None, (query.span,), result.source)
        return Lookup(None, result.missing if isinstance(result, PartialHit) else (query.span,))

    def read_file(self, query: BarsQuery) -> None:
        """Read the whole file of the user's if it answers a query; no vendor is queried.

        If the bars come from elsewhere, nothing happens.

        Raises:
            DataError: The file cannot be read, or has no bars in the range.
        """
        if self.series_of(query).is_of_files:
            self._service.answered(replace(query, bars=None, offline=True))

    def has_file(self, series: SeriesKey) -> bool:
        """Return whether a lane's bars can be read from the user's own file, in the folder in the rules.

        The file is read, unless it is known. The result is False for a symbol that no rule recognizes.
        """
        try:
            return self._service.lanes.sources.has_file(self.instrument(series), series)
        except DataError:
            return False

    def standing(self, query: BarsQuery) -> StoredAnswer:
        """Describe the stored bars that would answer ``query``, without building them.

        This is meant for caches on top of this client. Like :meth:`lookup`, it never queries a
        vendor.

        Raises:
            CacheError: The store cannot be read.
        """
        from .lookup import Hit, Miss, PartialHit

        result = self._service.lookup(query, with_rows=False)
        if isinstance(result, Hit):
            answer = result.answer
            series = f"{answer.query.instrument.symbol} {answer.facts['lane']} {answer.kind}"
            return StoredAnswer(series, answer.digest, result.until_ms or 0, not answer.trouble)
        if isinstance(result, Miss | PartialHit) and (lane := result.lane) is not None:
            is_stored = bool(lane.view.coverage.touching(query.span))
            return StoredAnswer(f"{lane.key} {lane.kind or ''}", is_stored=is_stored)
        return StoredAnswer()

    def calculate(self, query: BarsQuery, source: Timeframe, *, anew: bool = False) -> Calculation:
        """Build longer bars from all stored ``source`` bars and store them; no vendor is queried.

        The built bars are stored in a separate lane (``1h@from-1m``), from which queries are never
        answered, with the vendors and states of the bars they are made from. For extended hours,
        they are built from extended-hours minute bars (``1h@extended@from-1m``). In a market with
        sessions, daily bars built this way lack the auctions.

        Args:
            query: Symbol and timeframe of the longer bars; its span is ignored.
            source: Timeframe of the bars that they are made from.
            anew: Whether to drop previously calculated bars first.

        Raises:
            QueryError: Bars of this timeframe cannot be built from ``source`` bars.
            NoDataError: No ``source`` bars are stored, or not enough for a single complete bar.
            KindMismatchError: The calendar does not know the trading hours of the ``source`` bars,
                or cannot produce such daily bars.
            CacheError: The store cannot be read or written.
        """
        from .derive.calculated import Calculator

        calculator = Calculator(self._store, self._service.lanes, self._service.answered)
        return calculator.calculate(query, source, anew=anew)

    def plan(self, query: BarsQuery) -> Plan:
        """Return a plan of what :meth:`get` would do: stored and missing bars, requests and waits.

        The plan also contains the quotas of the vendors.

        No vendor is queried and nothing is written. Damaged data is read as a repair would leave
        it.

        Raises:
            CacheError: The store cannot be read.
        """
        return self._planner().plan(query)

    def explain(self, query: BarsQuery) -> Explanation:
        """Explain which vendors are queried for a series, and which are not and why.

        The explanation includes the state of each vendor.

        No vendor is queried and nothing is written.

        Raises:
            CacheError: The store cannot be read.
        """
        from .dry_run.explain import explain

        return explain(self._planner(), query)

    def supply(self, query: BarsQuery) -> Supply:
        """Return the vendor to query first for a series, and how far back the vendors' histories go.

        No vendor is queried. Health and quota are not considered; use :meth:`plan` for that.
        """
        return self._selector.supply(query.instrument, query.timeframe, query.provider)

    def requests(self) -> Mapping[str, tuple[int, int]]:
        """Return how many requests this process sent to each vendor, and how many were answered."""
        vendors = self._observer.metrics.snapshot()["vendors"]
        return {name: (counts["requests"], counts["ok"]) for name, counts in vendors.items()}

    def _planner(self) -> RequestPlanner:
        """Return a planner for one query, based on the current state of the store."""
        from .dry_run.planner import RequestPlanner

        return RequestPlanner(self._store.preview(), self._selector, self._clock, *self._terms)

    # --- facts about a series --------------------------------------------------------------

    def coverage(self, series: SeriesKey) -> tuple[CoverageSpan, ...]:
        """Return the coverage of a series, span by span, ascending and disjoint.

        The ranges between the spans were never requested from a vendor. The result is empty if the
        series is not stored. ``next_due`` of a span is in UTC milliseconds, or None if fetching
        again cannot change the span.

        Raises:
            CacheError: The store cannot be read.
        """
        view = self._view_of(series)
        return tuple(_spans(view, view.coverage))

    def outline(self, series: SeriesKey) -> SeriesOutline:
        """Return the coverage, lifetime and calendar of a series, all from one consistent state.

        Raises:
            CacheError: The store cannot be read.
            QueryError: No rule recognizes the symbol.
        """
        from .outline import outline_of

        return outline_of(self._view_of(series), self.instrument(series), self._terms[0])

    def instrument(self, series: SeriesKey) -> Instrument:
        """Return the instrument of a stored series, in the session hours that its bars cover.

        Raises:
            QueryError: No rule recognizes the symbol.
        """
        return self._selector.instrument(series.symbol).in_session(series.session)

    def _view_of(self, series: SeriesKey) -> SeriesView:
        """Return the view of a series; an empty one if the user's file is not the one that was read."""
        view = self._store.view(series)
        if not series.of_folder:
            return view
        instrument = self._selector.instrument(series.symbol)
        is_current = self._service.lanes.sources.is_current(instrument, view)
        return view if is_current else SeriesView(key=series)

    def series_of(self, query: BarsQuery) -> SeriesKey:
        """Return the series that answers ``query``.

        If the query pins (names) a vendor, the result is that vendor's series; otherwise, the
        series of the first vendor in the rules that serves the query. Stored data does not affect
        the choice, and the series need not be stored. No vendor is queried.

        Raises:
            CacheError: The store cannot be read.
        """
        return self._service.lanes.find(query).key

    def question_for(self, series: SeriesKey, start: Any, end: Any) -> BarsQuery | None:
        """Return a query for a range that would be answered from a given series, or None.

        The query names a vendor, the owner of the lane, only if the rules do not lead to the
        series. The result is None if no query under the current rules would be answered from the
        series. No vendor is queried.

        Args:
            series: A stored series.
            start, end: As for :meth:`query`.

        Raises:
            QueryError: No rule recognizes the symbol, or the range is invalid.
            CacheError: The store cannot be read.
        """
        names: Iterable[str] = series.lane[:1]
        if series.of_folder:
            family = series.of_folder.partition(".")[0]
            vendors = dict.fromkeys(entry.vendor for entry in self._store.view(series).coverage)
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
        """Return all stored series (one per lane) for a symbol and timeframe.

        The series that answers queries under the rules comes first, then the one in the default
        lane.

        Args:
            symbol: Canonical symbol, as in ``query().instrument.symbol``.
            timeframe: Timeframe of the bars.

        Raises:
            CacheError: The store cannot be read.
        """
        keys = self._store.lanes(symbol, timeframe)
        first = self.answering(keys)
        return [*first, *(key for key in keys if key not in first)]

    def of_vendor(self, keys: Iterable[SeriesKey], provider: str | None) -> list[SeriesKey]:
        """Return the series in ``keys`` that contain an answer from a vendor; all of them if it is None.

        Raises:
            UnknownProviderError: The vendor does not exist.
            CacheError: The store cannot be read.
        """
        vendor = self._parser.pinned_vendor(provider)
        if vendor is None:
            return list(keys)
        return [
            key
            for key in keys
            if any(vendor in one.vendor.split(",") for one in self.coverage(key))
        ]

    def answering(
        self, keys: Iterable[SeriesKey], session: AskedSession = "regular"
    ) -> list[SeriesKey]:
        """Return the series in ``keys`` from which queries are answered, one per symbol and timeframe.

        This is the series in the lane that the rules select. If that series is not in ``keys``, or
        if ``keys`` contains only the default lane, the series in the default lane is returned
        regardless of its kind.

        Args:
            keys: Stored series.
            session: Session hours of the bars in question.

        Raises:
            CacheError: The store cannot be read.
        """
        wishes = Wishes(session=session)
        if session == "extended":
            keys = [key for key in keys if key.is_extended and not key.made_of]

        def query_of(symbol: str, timeframe: Timeframe) -> BarsQuery:
            """Return the default query for a series."""
            return self.query(symbol, timeframe, wishes=wishes)

        return self._service.lanes.answering(keys, query_of)

    def columns(self, series: SeriesKey, span: Span, *, is_use: bool = True) -> StoredColumns:
        """Return the stored bars that open in ``span``, as columns, with their generation.

        ``table.stamps`` is int64 UTC milliseconds; prices and volume are float64; ``adj_close`` is
        float64 or None. Values are as they were fetched, and ``coverage`` gives the adjustment of
        each part; :meth:`get` converts them to one adjustment. The arrays are read-only, and later
        commits do not change them. If the columns are mapped from disk, the arrays are views of
        them without a copy. The call waits for a commit in progress, so bars and generation always
        match. With ``is_use``, the read counts as a use, which protects the bars from eviction.

        Raises:
            CacheError: The store cannot be read.
        """
        from ..model.stored.stored import StoredColumns

        view, table, coverage = self._store.stored_span(series, span, is_use=is_use)
        spans = tuple(_spans(view, coverage))
        return StoredColumns(series, view.generation, table.read_only(), spans)

    def series(self, pattern: str = "*") -> list[SeriesKey]:
        """Return the stored series that match a pattern, ordered by symbol, timeframe and lane.

        Data that older tools left outside ``ohlcv`` is included once it has been accessed.

        Args:
            pattern: Shell pattern (``*``, ``?``, ``[...]``) for a symbol (``BTC*``), or for a
                symbol, a space and a timeframe with its lane, if any (``* 1d``, ``AAPL 1d@raw``);
                case-sensitive.

        Raises:
            StorageError: The cache folder cannot be read.
        """
        is_whole = " " in pattern
        return [
            key
            for key in self._store.keys()
            if fnmatchcase(str(key) if is_whole else key.symbol, pattern)
        ]

    def commits(self, series: SeriesKey) -> list[LoggedCommit]:
        """Return the logged commits to a series, oldest first, including deletions.

        The log is not durable: it may lack the last commits before a power loss, and many old
        commits are merged into one entry.

        Raises:
            CacheError: The store cannot be read.
        """
        from ..model.stored.stored import LoggedCommit

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

    @property
    def acceptances(self) -> Acceptances:
        """The findings that users accepted."""
        return self._store.acceptances

    def mark(
        self,
        series: SeriesKey,
        generation: int,
        doubts: Sequence[tuple[Span, str]],
        ended: Sequence[Span],
    ) -> bool:
        """Durably mark bars as wrong after a check of the whole series; later answers report it.

        The bars stay unchanged. They are fetched again like bars that are found to be wrong when
        they arrive; see :func:`.validity.next_due`.

        Args:
            series: Series to mark.
            generation: Generation that was checked.
            doubts: Spans of final bars that are certainly wrong, each with the reason.
            ended: Marked spans that are no longer found wrong; they become final again.

        Returns:
            Whether the marks were stored; False if the series has changed since.

        Raises:
            CacheError: The store cannot be written.
        """
        from .validity import Hole, next_due

        now_ms = self._clock.now_ms()
        marks = [Covered(span, "final") for span in ended]
        for span, reason in doubts:
            due = next_due(Hole(span.end, self._terms[0]), now_ms)
            marks += [Covered(span, "suspect", fetched_at=now_ms, reason=reason, expires=due)]
        try:
            self._store.commit(series, Commit(marks=tuple(marks), at_generation=generation))
        except SeriesChangedError:
            return False
        return True

    def quarantined(self, series: SeriesKey) -> Quarantined:
        """Return the quarantined rows and files of a series, with the reasons; nothing is repaired.

        Raises:
            StorageError: The store cannot be read.
        """
        from ..model.stored.stored import Quarantined

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
        provider: str | None = None,
    ) -> Quote:
        """Return the last price of a symbol; see ``DataManager.get_quote``.

        Args:
            symbol, max_age, timeout, session, provider: See that method.
            live: Function that returns the latest price of an instrument from a running stream, if
                there is one.

        Raises:
            QueryError: An argument is invalid.
            NoProviderError, AllProvidersFailedError, NoDataError: No price is known.
        """
        return self._quotes_of(provider).get(symbol, max_age, timeout, live, session)

    def get_quotes(
        self,
        symbols: Sequence[str],
        max_age: Any = 5.0,
        timeout: Any = None,
        live: Live | None = None,
        session: Any = "regular",
        provider: str | None = None,
    ) -> Quotes:
        """Return the last prices of many symbols; see ``DataManager.get_quotes``.

        Raises:
            QueryError: An argument that applies to all symbols is invalid.

        Warns:
            IncompleteDataWarning: Some prices could not be fetched.
        """
        return self._quotes_of(provider).get_many(symbols, max_age, timeout, live, session)

    def _quotes_of(self, provider: str | None) -> QuoteService:
        """Return the service for quotes from one vendor, or from those in the rules."""
        from .figures.quotes import QuoteService

        vendor = self._parser.pinned_vendor(provider)
        parts = self._service, self._parser, self._selector, self._clock, self._observer
        if vendor not in self._quotes:
            self._quotes.setdefault(vendor, QuoteService(*parts, vendor))
        return self._quotes[vendor]

    @cached_property
    def _quotes(self) -> dict[str | None, QuoteService]:
        return {}

    # --- versions and changes --------------------------------------------------------------

    def pin(self, series: SeriesKey, generation: int) -> None:
        """Keep all files needed to read a series as it was after commit ``generation``.

        From then on, :meth:`get` for a query with that ``version`` returns those bars, even if they
        have been revised, compacted, or dropped because of the cache's size or age limit. A pin is
        durable and applies to every process that uses the folder, until :meth:`unpin`. Pinning a
        generation twice has no further effect. A call that deletes bars (``clear``) also deletes
        pinned ones.

        Args:
            series: Series to pin.
            generation: Generation, as in ``columns(series, span).generation`` or
                ``attrs["onetape"]``.

        Raises:
            QueryError: The generation does not exist or is no longer kept.
            LockTimeoutError, StorageError: The pin could not be set.
        """
        self._store.pin(series, generation)

    def unpin(self, series: SeriesKey, generation: int) -> None:
        """Release a pinned generation.

        The next time a year's file is rewritten, data that only this generation needed is dropped.

        If the generation is not pinned, nothing happens. A pin has no owner, so it is removed for
        all programs that set it.

        Raises:
            LockTimeoutError, StorageError: The pin could not be removed.
        """
        self._store.unpin(series, generation)

    def read_again(self, read: StoredRead) -> ReadAgain:
        """Read stored bars as of a given generation, with given splits and dividends.

        If the generation and the actions come from a recorded read, the bars are bit-for-bit
        identical to the bars of that read. No vendor is queried. Bars that were never stored
        (forming bars, invalid rows) are not included, nor are bars before a dividend that cannot be
        applied.

        Raises:
            QueryError: The generation does not exist or is no longer kept.
            KindMismatchError: The bars cannot be converted to the adjustment with today's splits
                and dividends.
            UnknownProviderError: The pinned vendor no longer exists.
            CacheError: The store cannot be read.
        """
        from .read_again import read_again

        wishes = Wishes(
            provider=read.provider,
            adjustment=read.adjustment,
            offline=True,
            session=read.series.session,
        )
        query = self.query(read.series.symbol, read.series.timeframe, bars=1, wishes=wishes)
        return read_again(self._store, self._clock, query, read)

    @property
    def folder(self) -> Path:
        """The cache folder."""
        return self._store.root

    def subscribe(self, callback: Callable[[CommitNotice], object]) -> Callable[[], None]:
        """Call ``callback`` for every commit of bars to this cache folder as it happens.

        This includes commits by any manager, feed or cache object in this process. For commits by
        other processes, use ``commits`` and the generation in ``columns``. Deletions are not
        commits. The callback runs in the committing thread, which waits for it, after the commit is
        durable and its lock is released. It should pass the notice on and return, and must not
        request the same series. An exception that it raises is logged once and affects neither the
        commit nor the answer.

        Returns:
            A function that removes the callback.
        """
        return self._store.commit_feed.subscribe(EnrolledListener(callback).tell)

    # --- splits and dividends, sessions ----------------------------------------------------

    def actions(
        self,
        symbol: str,
        vendor: str | None = None,
        session: AskedSession = "regular",
        *,
        is_alone: bool = False,
    ) -> tuple[KnownAction, ...]:
        """Return a symbol's stored splits and dividends, ordered by ex-date; no vendor is queried.

        Actions that do not count are included (see ``counts``). Each has the time from which bars
        of ``session`` reflect it. The result is empty for anything but stocks. For bars from a
        vendor of sample data, only that vendor's own actions count; with ``is_alone``, this also
        applies to other vendors.

        Raises:
            QueryError: The symbol is invalid.
            CorruptEntryError: The stored actions are damaged; :meth:`get_actions` fetches them
                again.
        """
        instrument = self._selector.instrument(symbol).in_session(session)
        return self._action_service.stored(instrument, vendor, is_alone=is_alone)

    def last_ex_date(self, symbol: str) -> date:
        """Return the latest ex-date that has come: that of the latest session that has opened.

        Raises:
            QueryError: The symbol is invalid.
        """
        opened_ms = self._clock.now_ms() if self._opened_ms is None else self._opened_ms
        return opened_day(self._selector.instrument(symbol), opened_ms)

    def lacks_actions(self, symbol: str, dates: Span, vendor: str | None = None) -> bool:
        """Return whether a stock's actions for some of these ex-dates were never requested.

        Args:
            symbol: Symbol as the user types it.
            dates: Span of ex-dates, as timestamps.
            vendor: See :meth:`actions`.

        Raises:
            QueryError: The symbol is invalid.
            CorruptEntryError: The stored actions are damaged.
        """
        return self._action_service.lacks(self._selector.instrument(symbol), dates, vendor)

    def get_actions(
        self,
        symbol: str,
        first: date | None = None,
        last: date | None = None,
        timeout: float | None = None,
        provider: str | None = None,
    ) -> FoundActions:
        """Return splits and dividends, after fetching those that are missing or due.

        Args:
            symbol: Symbol as the user types it.
            first, last: Ex-dates, both inclusive; None for no limit.
            timeout: Seconds after which the call stops waiting for vendors and other callers; if
                None, it stops after 30 s without an answer from any vendor.
            provider: Vendor to query, whose reports alone count; None for those in the rules.

        Raises:
            QueryError: The symbol is invalid, or ``timeout`` is not a valid time.
            UnknownProviderError: The vendor does not exist.
            NoProviderError: No vendor in the rules reports actions, and no vendor was ever queried.
            AllProvidersFailedError: No vendor answered, now or earlier.

        Warns:
            IncompleteDataWarning: No vendor could be queried for some ex-dates; ``missing`` lists
                them.
        """
        instrument = self._selector.instrument(symbol)
        with self._observer.call_beside(symbol, "1d"):
            seconds, get = seconds_of(timeout, symbol), self._action_service.get
            pinned = provider and self.query(symbol, "1d", wishes=Wishes(provider=provider))
            result = run_call(self._clock, seconds, get, instrument, first, last, pinned or None)
        if result.missing:
            why = "; ".join(dict.fromkeys(result.problems)) or "no vendor in the rules has them"
            warn_user(f"splits and dividends for {instrument.symbol}: {why}", IncompleteDataWarning)
        return result

    def symbol_changes(self, symbol: str) -> tuple[SymbolChange, ...]:
        """Return the recorded changes in a symbol's meaning, ordered by date; no vendor is queried.

        Raises:
            QueryError: The symbol is invalid.
            CorruptEntryError: The recorded changes are damaged; recording them again fixes that.
        """
        return self._store.actions(self._selector.instrument(symbol).symbol).changes

    def record_symbol_changes(
        self, changes: Mapping[str, Sequence[SymbolChange]]
    ) -> tuple[str, ...]:
        """Durably record when symbols changed their meaning; bars stay unchanged.

        From then on, errors and gaps for a former name mention its successor, in all programs that
        use the folder. For a name that was never fetched, this creates the folder. Recording the
        same changes again does not write anything. If the process is killed halfway, only some
        symbols have their changes.

        Args:
            changes: Maps each symbol to all changes that involve it, in any order. They replace any
                changes recorded before; an empty list removes those.

        Returns:
            The symbols whose recorded changes this call has altered.

        Raises:
            QueryError: A symbol is invalid, or a change is impossible; nothing is recorded.
            LockTimeoutError, StorageError, FormatVersionError: The changes of one symbol could not
                be recorded.
        """
        from .symbol_changes import checked

        valid = checked(changes, self._selector.instrument, self._clock.now_ms())
        store = self._store
        return tuple(name for name, mine in valid.items() if store.record_changes(name, mine))

    @property
    def _action_service(self) -> ActionService:
        return self._service.actions

    def sessions(self, instrument: Instrument, span: Span) -> tuple[SessionHours, ...]:
        """Return the sessions that overlap ``span`` (UTC milliseconds), in ascending order.

        Only the market's calendar is used, and ``span`` may be in the future. A market that never
        closes has one session for each UTC day.

        Raises:
            ConfigError: The instrument's calendar does not exist.
        """
        from ..model.stored.stored import SessionHours

        calendar = calendar_for(instrument)
        around = calendar.sessions(date_of(span.start) - _TWO_DAYS, date_of(span.end) + _TWO_DAYS)
        inside = [s for s in around if s.open_ms < span.end and span.start < s.close_ms]
        stamps, grid = (
            [day_ms(session.day) for session in inside],
            BarGrid(calendar, Timeframe(1, "d")),
        )
        settled = [settles_at(stamp, grid, 2 * MINUTE_MS) for stamp in stamps]
        unknown = calendar.unrecorded(Span(stamps[0], stamps[-1] + DAY_MS)) if inside else ()
        recorded = [not any(day_ms(s.day) in days for days in unknown) for s in inside]
        early = (closes_early(instrument, s) for s in inside)
        return tuple(
            SessionHours(s.day, s.open_ms, s.close_ms, s.breaks, is_early, due, is_known)
            for s, is_early, due, is_known in zip(inside, early, settled, recorded, strict=True)
        )


def _spans(view: SeriesView, coverage: Coverage) -> Iterator[CoverageSpan]:
    """Yield the spans of ``coverage``, each with the time at which to fetch it again."""
    from ..model.stored.stored import CoverageSpan

    for entry in coverage.opened():
        due = entry.expires
        if entry.state == "provisional" and due is None:
            # A closed bar may change until it has settled, so the span is due when the series is.
            due = view.next_due or entry.fetched_at
        yield CoverageSpan(
            entry.span,
            entry.state,
            entry.vendor,
            entry.reason,
            entry.basis,
            entry.fetched_at,
            entry.expires,
            due,
        )
