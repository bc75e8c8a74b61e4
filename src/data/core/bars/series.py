"""The parts of one request to one lane: the request, its journal, and the stored series.

:func:`is_down` and :func:`is_outage` decide what the errors in a journal imply about vendors.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from ...errors import (
    Attempt,
    CacheError,
    CapabilityError,
    CircuitOpenError,
    CorruptEntryError,
    DataError,
    EntitlementError,
    KindMismatchError,
    LockTimeoutError,
    NoDataError,
    OvertakenError,
    ProviderTimeoutError,
    QualityError,
    RegionError,
    SpliceConflictError,
    StorageError,
    UnsupportedError,
)
from ..cache.actions import ActionBook, Asked, VendorActions, WholeAnswer
from ..cache.file_lanes import with_commit
from ..cache.store import BarStore, Commit, SeriesView
from ..cache.values import SeriesChangedError, no_check
from ..cache.write.write_guard import NoRoomError, ReadOnlyError
from ..calendars.calendar import MarketCalendar
from ..calendars.grid import BarGrid
from ..clock import Clock
from ..config.rules import ValidationRules
from ..model.identity.kind import Basis, Kind
from ..model.identity.series import SeriesKey
from ..model.market.actions import Action
from ..model.market.bars import BarTable
from ..model.request.query import BarsQuery
from ..model.stored.coverage import Coverage, stretches
from ..model.stored.lifetime import Lifetime
from ..model.time.edges import edges_of, merged, spans_of
from ..model.time.instant import DAY_MS, MINUTE_MS, date_of
from ..model.time.span import Span, clipped
from ..net.calls import deadline
from .selection.candidates import Candidate
from .selection.route import LaneRoute
from .validity import Expiry, first_session, with_strays

# Days that are requested again because vendors report some splits and dividends late.
LATE_BY_MS = 14 * DAY_MS

_LOG = logging.getLogger("onetape.routing")

# Errors that concern a span of bars, not the vendor as a whole.
_ERRORS_OF_A_SPAN = (NoDataError, QualityError, CapabilityError, SpliceConflictError)
# Errors that do not imply anything about the vendor's answers for bars of another length or kind.
_ERRORS_OF_THE_QUESTION = (QualityError, CapabilityError, KindMismatchError, EntitlementError)


@dataclass(frozen=True)
class LaneRequest:
    """A request to one lane.

    Attributes:
        query: The query.
        key: The series, which also identifies its folder in the store.
        route: Vendors that may answer, in order.
        grid: Grid of the series.
        is_last_lane: Whether this is the last lane to be tried.
        expiry: How long a vendor's report of no bars stays valid.
        checks: Rules for checking answers.
        log: Logger for the request.
    """

    query: BarsQuery
    key: SeriesKey
    route: LaneRoute
    grid: BarGrid
    is_last_lane: bool = False
    expiry: Expiry = Expiry()
    checks: ValidationRules = ValidationRules()
    log: logging.Logger = _LOG

    @property
    def settle_ms(self) -> int:
        """The time in milliseconds after which bars of the lane's first vendor have settled."""
        capabilities = self.route.candidates[0].capabilities
        return capabilities.settle_ms if capabilities else 2 * MINUTE_MS

    def has_others(self, candidate: Candidate, excluded: Collection[str]) -> bool:
        """Return whether another vendor can still be queried after ``candidate``."""
        names = [c.name for c in self.route.candidates if c.name not in excluded]
        return not self.is_last_lane or names[-1:] != [candidate.name]


class Side(NamedTuple):
    """Bars from another vendor on one side of a span.

    Attributes:
        vendor: Vendor of the adjacent bars.
        span: Span of these bars that is also requested; empty if none of them is final.
        rows, coverage: Bars to compare with, as stored, and their coverage.
        is_later: Whether the bars are after the span.
    """

    vendor: str
    span: Span
    rows: BarTable
    coverage: Coverage
    is_later: bool


class VendorQuestion(NamedTuple):
    """A question to one vendor.

    Attributes:
        span: Missing span.
        sides: Adjacent bars from other vendors, which are compared but not stored again.
        with_own_bars_before: ``span`` extended by the vendor's own final bars before it, which are
            compared again; those that differ are stored.
        missing_parts: Missing parts of ``span`` if several are requested together; only these are
            stored. Empty if all of ``span`` is missing.
        until_ms: End of the range after ``span`` in which nothing else is missing.
        actions_from: Start of the earlier bars that are requested only for the splits and dividends
            that come with them; None if none are.
    """

    span: Span
    sides: Sequence[Side] = ()
    with_own_bars_before: Span = Span(0, 0)
    missing_parts: tuple[Span, ...] = ()
    until_ms: int = 0
    actions_from: int | None = None

    def since(self, start_ms: int) -> VendorQuestion:
        """Return the question from ``start_ms`` on, without the vendor's own bars before that time."""
        span = Span(start_ms, self.span.end)
        return self._replace(
            span=span,
            sides=tuple(side for side in self.sides if side.is_later),
            with_own_bars_before=Span(0, 0),
            missing_parts=tuple(clipped(self.missing_parts, span)),
        )

    @property
    def span_to_store(self) -> Span:
        """The span for which the answer is stored."""
        return self.span if self.with_own_bars_before.is_empty else self.with_own_bars_before

    @property
    def span_of_actions(self) -> Span:
        """The span for which splits and dividends in the answer are stored."""
        span = self.span_to_store
        return span if self.actions_from is None else Span(self.actions_from, span.end)

    @property
    def reach(self) -> Span:
        """The span for which the vendor is queried, including bars that are not stored again."""
        span = self.span_of_actions
        return Span(
            min([span.start, *(s.span.start for s in self.sides)]),
            max([span.end, *(s.span.end for s in self.sides)]),
        )


class Forming(NamedTuple):
    """Bars that have not closed; they are never stored."""

    table: BarTable
    vendor: str
    basis: Basis
    kind: Kind = Kind()


@dataclass(frozen=True)
class UnfilledSpan:
    """A segment that no vendor supplied, with the reason.

    ``failed`` is True if a vendor that serves such bars did not answer. ``is_outage`` is True if no
    vendor that serves them answered or reported anything about them. ``is_noted`` is True if
    reasons in the stored coverage take precedence over this one, because this reason is that the
    whole call failed, whereas the stored ones are about particular bars. ``harmless`` is True if no
    bar is missing, because the requested range begins where the vendor's history does.
    """

    span: Span
    reason: str
    failed: bool = False
    is_outage: bool = False
    is_noted: bool = False
    harmless: bool = False


@dataclass
class Journal:
    """Record of a request's attempts and their results. Use from one thread only.

    Attributes:
        attempts: All queries for bars sent to vendors, in order.
        side_attempts: Queries for the splits, dividends and daily close prices needed to adjust
            bars.
        excluded: Vendors that this request must not query again, with the reason.
        without_actions: Vendors that failed to report splits and dividends, with the reason.
        unfilled: Spans that no vendor supplied.
        fetched: Spans that a vendor answered during this request.
        due_now: Spans of stored bars and holes that an answer made due: they can be fetched again
            immediately.
        forming: Forming bar, if one was received.
        problems: Sentences for the provenance.
        scores: Scores of the answers, 0 to 1.
    """

    attempts: list[Attempt] = field(default_factory=list)
    side_attempts: list[Attempt] = field(default_factory=list)
    excluded: dict[str, DataError] = field(default_factory=dict)
    without_actions: dict[str, DataError] = field(default_factory=dict)
    unfilled: list[UnfilledSpan] = field(default_factory=list)
    fetched: list[Span] = field(default_factory=list)
    due_now: list[Span] = field(default_factory=list)
    forming: Forming | None = None
    problems: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """The number of bars that vendors have sent."""
        return sum(attempt.rows for attempt in self.attempts)

    def note(self, attempt: Attempt) -> None:
        """Add an attempt; exclude its vendor unless the error concerns only this span."""
        self.attempts.append(attempt)
        if attempt.error is not None and not isinstance(attempt.error, _ERRORS_OF_A_SPAN):
            self.excluded[attempt.provider] = attempt.error


def is_down(error: DataError) -> bool:
    """Return whether a vendor failed for a reason other than the query or a lack of data.

    Other queries to that vendor would then also fail. Hitting a time limit set by the caller does
    not count.
    """
    if isinstance(error, RegionError):
        return True  # other queries from here are not served either
    if isinstance(error, ProviderTimeoutError) and error.by_caller:
        return False
    if isinstance(error, CircuitOpenError) and error.is_endpoint_only:
        return False
    return not isinstance(error, (*_ERRORS_OF_THE_QUESTION, NoDataError))


def is_outage(errors: Sequence[DataError]) -> bool:
    """Return whether, according to the errors, all vendors that serve such bars were down.

    A vendor whose plan does not include the bars does not serve them.
    """
    serving = [error for error in errors if not isinstance(error, UnsupportedError)]
    down = [error for error in serving if is_down(error) or isinstance(error, CircuitOpenError)]
    return bool(down) and all(e in down or isinstance(e, EntitlementError) for e in serving)


# --- the series that the request is for


# Minimum wait, so that data received in time is stored even after the deadline unless a writer is
# stuck.
_LEAST_WAIT_S = 0.1
# Times that an answer is fitted again to bars that another host has stored meanwhile.
_MOST_OVERTAKEN = 5
_STORAGE_FAILURES = (StorageError, LockTimeoutError, CorruptEntryError)


@dataclass
class PhaseSnapshot:
    """The stored data on which one phase of a request bases its decisions, read on first use.

    A phase ends when the data may have changed: after a wait for another caller, a query to a
    vendor, or a commit. Reading bars may repair the data, so the view that such a read returns
    replaces the previous one.

    Attributes:
        now_ms: Time of the phase, in UTC milliseconds.
        view: The stored series.
        book: Splits and dividends of its symbol; empty if they are damaged.
        before: View from the previous phase. Decisions are not based on it, but a read may start
            from it, because the series is checked again after every read.
        first: The first view that was read; the view of a later read may be newer.
    """

    now_ms: int | None = None
    view: SeriesView | None = None
    book: ActionBook | None = None
    before: SeriesView | None = None
    first: SeriesView | None = None

    @property
    def since(self) -> SeriesView | None:
        """The view from which a read may start: this phase's or else the previous one's, if any."""
        return self.view or self.before

    def note(self, view: SeriesView) -> SeriesView:
        """Record the view that a read has returned, and return it."""
        self.view, self.first = view, self.first or view
        return view


class SeriesStore:
    """Reads one series and commits to it, for one request. Use from one thread only.

    The series is read once in each phase; see :class:`PhaseSnapshot`. If a write to disk fails, or
    another writer holds the lock for longer than the call can wait, no bar is lost: the data is
    kept here, is part of this request's answer, and is fetched again by the next request. A job
    must store its bars, so it ends with the error instead.

    Args:
        store: The store.
        clock: Source of the current time.
        key: The series.
        query: Query that the request answers.
        log: Logger for the request.

    Attributes:
        snapshot: Snapshot of the request's current phase.
        stored_spans: Spans with bars, and empty spans, that the request has stored.
        unstored, unstored_actions: Commits and actions that could not be stored.
        action_answers: Answers about splits and dividends that the request has received.
        problems: Sentences for the provenance about storage failures.
        source: Version of the user's file that the lane's bars come from, before any of it was read;
            empty for other lanes.
        overtaken: How many times another host has committed before this request was able to.
    """

    def __init__(
        self,
        store: BarStore,
        clock: Clock,
        key: SeriesKey,
        query: BarsQuery,
        log: logging.Logger = _LOG,
    ) -> None:
        self._store, self._clock = store, clock
        self._key, self._query, self._log = key, query, log
        self.snapshot = PhaseSnapshot()
        self.stored_spans: list[Span] = []
        self.unstored: list[Commit] = []
        self.unstored_actions: list[VendorActions] = []
        self.action_answers: list[Asked] = []
        self.problems: list[str] = []
        self.source = ""
        self.overtaken = 0

    def other_series(self, key: SeriesKey) -> SeriesStore:
        """Return the store of another series, for the same request."""
        return SeriesStore(self._store, self._clock, key, self._query, self._log)

    def end_phase(self) -> None:
        """Begin a new phase: the next decision reads the clock, the view and the actions again."""
        self.snapshot = PhaseSnapshot(before=self.snapshot.since)

    def commit(self, commit: Commit, check: Callable[[], object] = no_check) -> None:
        """Store a commit, or keep it in ``self.unstored``; ``check`` may stop it before it is written.

        Raises:
            OvertakenError: Another host has committed to the series since this phase began, and the
                commit has bars, which must be fitted to the new ones unless the error is final.
            CacheError: The query requires storage, and the commit cannot be stored.
        """
        if self._query.offline and self._store.hosts.is_shared(self._key):
            self.unstored.append(commit)  # no server may be contacted
            return
        based_on = self.snapshot.first if commit.pieces else None
        whole = replace(commit, source=self.source) if self.source else commit
        try:
            self._store.commit(self._key, whole, _wait_s(), check, based_on)
            empty = stretches(commit.marks).where(lambda mark: mark.state == "empty")
            pieces = edges_of((*self.stored_spans, *(piece.span for piece in commit.pieces)))
            self.stored_spans = spans_of(merged(np.concatenate([pieces, empty])))
        except SeriesChangedError:
            self._log.debug("%s has changed while it was being read", self._key)
        except (*_STORAGE_FAILURES, OvertakenError) as error:
            is_final = True
            if isinstance(error, OvertakenError):
                self.overtaken += 1
                is_final = error.is_final = error.is_final or self.overtaken > _MOST_OVERTAKEN
            if self._query.must_store or not is_final:
                raise
            self.unstored.append(commit)
            self._note(error)
        finally:
            self.snapshot = PhaseSnapshot()

    def begin(self, version: str, *, anew: bool = False) -> None:
        """Begin with a version of the user's file; bars that were read from another one are dropped.

        With ``anew``, all bars are dropped, also those that other vendors have added.
        """
        self.source = version
        if self._store.file_lanes.begin(self._key, version, anew=anew):
            self.snapshot = PhaseSnapshot()

    def is_of(self, version: str) -> bool:
        """Return whether the bars in memory are those of the given version, with which this began."""
        now = self._store.file_lanes.get(self._key).view.source
        return version == self.source == now

    def add_actions(
        self, actions: Sequence[Action], answer: Asked, whole: WholeAnswer | None = None
    ) -> None:
        """Store the splits and dividends from a vendor; if that fails, use them only for this query.

        Earlier reports that the answer lacks matter only if it is ``whole``.

        Raises:
            CacheError: The query requires storage, and the answer cannot be stored.
        """
        self.action_answers.append(answer)
        action_key = self._query.action_key
        if action_key is not None and answer.source == self._query.provider != action_key:
            answer = answer._replace(source=action_key)
            actions = [replace(action, source=action_key) for action in actions]
        try:
            self._store.add_actions(self._key.symbol, actions, *answer, _wait_s(), whole)
        except _STORAGE_FAILURES as error:
            if self._query.must_store:
                raise
            self.unstored_actions.append((tuple(actions), answer, whole))
            self._note(error)
        finally:
            self.snapshot.book = None

    def forget_actions(self) -> None:
        """Remove the actions of a recording that has been replaced; a disk failure is noted.

        Raises:
            CacheError: The query requires storage, and the actions cannot be removed from disk.
        """
        try:
            self._store.forget_actions(self._key.symbol, self._query.action_key or "", _wait_s())
        except _STORAGE_FAILURES as error:
            if self._query.must_store:
                raise
            self._note(error)
        finally:
            self.snapshot.book = None

    def now_ms(self) -> int:
        """Return the time at which the current phase began."""
        if self.snapshot.now_ms is None:
            self.snapshot.now_ms = self._clock.now_ms()
        return self.snapshot.now_ms

    def view(self) -> SeriesView:
        """Return the view of the stored series."""
        return self.snapshot.view or self.snapshot.note(self._store.view(self._key))

    def read(self, span: Span, *, is_use: bool = True) -> tuple[BarTable, Coverage]:
        """Return the stored bars in ``span`` and their coverage; the view is updated to match."""
        since = self.snapshot.since
        stored = self._store.stored_span(self._key, span, since, is_use=is_use)
        self.snapshot.note(stored.view)
        series = self._query.instrument, self._key.timeframe
        return stored.table, with_strays(stored.coverage, stored.table, *series)

    def read_with_unstored(self, span: Span) -> tuple[BarTable, Coverage]:
        """Return the result of :meth:`read` combined with the data that could not be stored."""
        rows, coverage = self.read(span)
        for commit in self.unstored:
            rows, coverage = with_commit(rows, coverage, commit)
        return rows.within(span), coverage.within(span)

    def coverage(self) -> Coverage:
        """Return the coverage of the series, including data that could not be stored."""
        coverage = self.view().coverage
        for commit in self.unstored:
            coverage = with_commit(BarTable.empty(), coverage, commit)[1]
        return coverage

    def beside(self) -> Iterator[SeriesView]:
        """Yield the readable series of other symbols in the same timeframe and lane."""
        for symbol in self._store.symbols():
            if symbol != self._key.symbol:
                with suppress(CacheError):
                    yield self._store.view(replace(self._key, symbol=symbol))

    def lifetime(self) -> Lifetime:
        """Return the beginning and end of the series, including data that could not be stored."""
        life = self.view().lifetime
        for commit in self.unstored:
            life = life.updated(commit.lifetime)
        return life

    def reported_ex_dates(
        self, days: Span, first_row_ms: int | None, calendar: MarketCalendar
    ) -> Span:
        """Return the ex-dates that an answer covers: from its first row on if its beginning was cut off.

        An answer was cut off if a session has no row although any bar from before the first row is
        known, however old it is. A split on a day without a row would not be reported.
        """
        if first_row_ms is None or first_row_ms <= days.start:
            return days
        if first_session(calendar, days.start, date_of(first_row_ms - 1)) is None:
            return days
        is_cut = any(first < first_row_ms for first in self._first_stamps())
        return Span(min(first_row_ms, days.end), days.end) if is_cut else days

    def _first_stamps(self) -> Iterator[int]:
        """Yield the timestamp of the first bar of each readable series of the symbol, and of unstored bars.

        Sample bars of other series prove nothing.
        """
        yield from (p.table.stamps[0] for c in self.unstored for p in c.pieces if len(p.table))
        own = {self._key, self._key.days}
        others = {key for key in self._store.keys_of(self._key.symbol) if not key.is_sample}
        for key in own | others:
            with suppress(CacheError):
                if (first := self._store.view(key).first) is not None:
                    yield first

    def book(self) -> ActionBook:
        """Return the known splits and dividends of a stock; empty if the book is damaged."""
        if self._query.instrument.asset_class != "stock":
            return ActionBook()
        if self.snapshot.book is None:
            try:
                self.snapshot.book = self._store.actions(self._key.symbol)
            except CorruptEntryError:
                self.snapshot.book = ActionBook()
        book = self.snapshot.book.with_answers(self.unstored_actions)
        instrument = self._query.instrument.in_session(self._key.session)
        return book.for_bars_of(self._query.action_key).by_date(instrument)

    def _note(self, error: Exception) -> None:
        problem = f"not stored: {error}"
        if problem not in self.problems:
            # These two errors cause one warning, not one for each request.
            is_reported = isinstance(error, ReadOnlyError | NoRoomError)
            level = logging.DEBUG if is_reported else logging.WARNING
            self._log.log(level, "%s could not be stored: %s", self._query, error)
            self.problems.append(problem)


def _wait_s() -> float:
    """Return how many seconds this call may wait for another writer to finish with the series."""
    return max(_LEAST_WAIT_S, deadline.call_left_s())
