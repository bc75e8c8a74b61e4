"""Decides where an answer comes from: memory, the store, shorter bars, or vendors for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from ...errors import ANSWERS, DataError
from ..cache.store import BarStore
from ..clock import Clock
from ..config.rules import ValidationRules
from ..model.answer.provenance import ATTRS_KEY
from ..model.request.query import BarsQuery
from ..net.calls.deadline import run_call
from ..net.limits.locks import SeriesLocks
from ..observability.reads import missed, open_records, reads
from ..runtime.once import cached_property
from .answer.answer import Answer, Rows, frame_of, note_empty, note_ended, note_unknown
from .answer.reader import Reader
from .lookup import MISS, AnswerCache, CacheLookup, Derived, Hit, LookupResult
from .observer import Call, Observer
from .pulls import pull_series, pulled_together
from .selection.lanes import LaneFinder
from .turns import FindLeases, Turns
from .validity import Expiry

if TYPE_CHECKING:
    import pandas as pd

    from .answer.handed_on import HandedOn
    from .corporate_actions import ActionService
    from .fetch.miss import MissHandler
    from .selection.candidates import Selector

T = TypeVar("T")


class BarsService:
    """Answers queries for bars; only missing bars are fetched.

    Thread-safe; a series is fetched by one thread at a time.

    See "The path of a request" in ``docs/architecture.md`` for the steps of :meth:`get`.

    A stored bar is returned until a better one replaces it; the state of its span shows how
    reliable it is. ``provisional``: it may change until it has settled; then it is fetched again.
    ``suspect``: it is fetched again when its doubt expires; until then it is the best bar
    available. A ``strict`` query accepts both, but rejects an answer with one of the faults in
    :attr:`.Answer.trouble`: gaps, invalid rows, a substitute, and doubts, for example about bars
    that are almost certainly wrong (a reason that begins with ``grave:``), answers that lack many
    of the bars they should contain, missing volume, or unknown splits.

    Attributes:
        lanes: Finds the lane that contains a query's bars.
    """

    def __init__(
        self,
        store: BarStore,
        selector: Selector,
        clock: Clock,
        expiry: Expiry | None = None,
        checks: ValidationRules | None = None,
        leases: FindLeases | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._store, self._selector, self._clock = store, selector, clock
        self._expiry, self._checks = expiry or Expiry(), checks or ValidationRules()
        self._reader = Reader(store, clock)
        self.lanes = LaneFinder(selector, store)
        self._answers = AnswerCache(store, self.lanes, self._reader.days)
        self._lookup = CacheLookup(store, self.lanes, self._reader, clock)
        self._locks, self._turns = SeriesLocks(), Turns(store.scope, clock, leases)
        self._observer = observer or Observer(clock)
        self._leases = leases

    @property
    def clock(self) -> Clock:
        """The clock that all calls use."""
        return self._clock

    def get(self, query: BarsQuery) -> Rows:
        """Return the rows for ``query``, whose frame may be shared.

        Raises:
            NoProviderError: No vendor is configured for the series and nothing is stored.
            AllProvidersFailedError: Bars were missing, no vendor supplied them, and nothing is
                stored.
            IncompleteDataError: ``strict`` is set and the answer is incomplete.
            QueryError: This version of the series does not exist or is no longer kept.
        """
        # Run in its own context, so that anything Ctrl-C leaves set disappears with it.
        try:
            return copy_context().run(self._get, query, self._rows, in_memory=True)
        except DataError as error:
            if (record := reads.get()) is not None:
                record.failed(query, error)
            elif open_records:
                missed(query)
            # Their message is complete; the frames inside this package would only hide the call.
            if isinstance(error, ANSWERS):
                error.__traceback__ = None
            raise

    def answered(self, query: BarsQuery) -> Answer:
        """Return the answer from which :meth:`get` builds its rows; count the call, but do not warn.

        Raises:
            NoProviderError, AllProvidersFailedError: See :meth:`get`.
        """
        return copy_context().run(self._get, query, _count_call, in_memory=False)

    def _get(
        self,
        query: BarsQuery,
        finish: Callable[[BarsQuery, Call, Answer, Rows | None], T],
        *,
        in_memory: bool,
    ) -> T:
        """Look for the answer in memory (if ``in_memory``) and in the store; query vendors if needed.

        ``finish`` counts the call and returns the result for an answer, whose rows may be in memory.
        """
        with self._observer.call(query, self._checks.min_quality_score) as call:
            result: LookupResult = self._answers.find(query) if in_memory else MISS
            if not isinstance(result, Hit):
                result = self.find_stored(query)
                if not isinstance(result, Hit) and pull_series(self._store, query):
                    result = self.find_stored(query)
            if isinstance(result, Hit):
                return finish(query, call, result.answer, result.rows)
            call.missed(self._store.actions)
            return finish(query, call, self.miss_handler.answer(query, result), None)

    def lookup(self, query: BarsQuery, *, with_rows: bool = True) -> LookupResult:
        """Look a query up in memory and in the store; with ``with_rows``, hits include their rows.

        Raises:
            IncompleteDataError: ``strict`` is set and the answer is incomplete in a way that its
                frame would report.
            QueryError: This version of the series does not exist or is no longer kept.
        """
        with self._observer.call(query, self._checks.min_quality_score) as call:
            result: LookupResult = self._answers.find(query, with_rows=with_rows)
            if not isinstance(result, Hit):
                result = self.find_stored(query)
            if isinstance(result, Hit):
                if query.wants_actions and not self._knows_actions(query, result.answer):
                    return MISS
                if with_rows:
                    return Hit(result.answer, self._rows(query, call, result.answer, result.rows))
                call.answered(result.answer)
                until_ms = self._answers.stands_until(query, result.answer, result.until_ms)
                return Hit(result.answer, until_ms=until_ms)
            return result

    def pulled(self, queries: Sequence[BarsQuery]) -> AbstractContextManager[None]:
        """Update the series of a batch from a store shared by many hosts, once for the whole block."""
        return pulled_together(self._store, queries)

    def find_stored(self, query: BarsQuery) -> LookupResult:
        """Look a query up in the store only; the result is not counted.

        Raises:
            QueryError: This version of the series does not exist or is no longer kept.
        """
        if query.version is not None:
            from .versions import Versions

            return Hit(Versions(self._store, self.lanes, self._clock).answer(query))
        days = self.miss_handler.shorter.preferred(query) if query.is_of_whole_weeks else None
        return self._lookup.find(query) if days is None else Derived(days)

    def _rows(self, query: BarsQuery, call: Call, answer: Answer, rows: Rows | None) -> Rows:
        """Return the rows of an answer, after counting the call and keeping the answer for reuse."""
        call.answered(answer)
        if rows is not None:
            note_empty(answer)
        else:
            note_ended(answer, self._store.scope)
            frame = frame_of(answer)
            if query.wants_actions:
                self._add_actions(frame, answer)
            self._answers.keep(query, answer, frame)
            rows = Rows(frame, frame.attrs[ATTRS_KEY])
        if (record := reads.get()) is not None:
            record.answered(answer, self._record_of_read)
        elif open_records:
            missed(query)
        return rows

    def _record_of_read(self, answer: Answer) -> HandedOn:
        """Return an answer in the form kept in the record of reads."""
        from .answer.handed_on import HandedOn  # few programs record what they read

        return HandedOn(self._store.root, answer)

    # --- splits and dividends on the rows ----------------------------------------------------

    @cached_property
    def actions(self) -> ActionService:
        """The service for splits and dividends, created when it is first needed."""
        from .corporate_actions import ActionService

        return ActionService(self._store, self._selector, self._clock, self._leases)

    def _knows_actions(self, query: BarsQuery, answer: Answer) -> bool:
        """Return whether the splits and dividends of the rows are known without querying a vendor."""
        from .answer.action_columns import ex_dates

        row_actions = self.actions.of_rows(
            replace(query, offline=True), ex_dates(query, answer.table.stamps), answer.as_of
        )
        return query.offline or query.version is not None or not row_actions.problems

    def _add_actions(self, frame: pd.DataFrame, answer: Answer) -> None:
        """Fill the columns about splits and dividends; unknown values count as missing.

        Raises:
            IncompleteDataError: ``strict`` is set and a value is unknown.
        """
        from ..model.answer.frame import NS_IN_MS  # imports pandas, which is loaded by now
        from .answer.action_columns import action_columns, ex_dates

        query = answer.query
        stamps = frame.index.asi8 // NS_IN_MS  # type: ignore[attr-defined] # times
        dates = ex_dates(query, stamps)
        row_actions = run_call(
            self._clock, query.timeout_s, self.actions.of_rows, query, dates, answer.as_of
        )
        for name, column in action_columns(query, stamps, row_actions).items():
            if name in query.columns:
                frame[name] = column
        self.actions.leave_out_adj_close(frame, answer)
        if row_actions.problems:
            note_unknown(frame, query, row_actions.problems)

    @cached_property
    def miss_handler(self) -> MissHandler:
        """The handler for misses, created on the first one."""
        # Imported here because an answer from the cache needs neither a vendor nor a fetch plan.
        from .fetch.lane import LaneServices
        from .fetch.miss import MissHandler

        services = LaneServices(
            self._store,
            self._clock,
            self._reader,
            self._expiry,
            self._checks,
            self._turns,
            self._observer.routing_log,
        )
        return MissHandler(self._selector, self.lanes, self._locks, self._lookup, services)


def _count_call(query: BarsQuery, call: Call, answer: Answer, rows: Rows | None) -> Answer:
    """Count the call, and return its answer, cached or fetched."""
    return call.answered(answer)
