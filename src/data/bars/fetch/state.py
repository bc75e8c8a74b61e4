"""The state of one request on its way through one lane."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from ...cache.actions import ActionBook, Asked
from ...cache.store import BarStore, Commit, SeriesView
from ...cache.write.coverage_update import after_marks, after_pieces
from ...cache.write.write_guard import NoRoomError, ReadOnlyError
from ...calendars.grid import BarGrid
from ...clock import Clock
from ...errors import (
    Attempt,
    CapabilityError,
    CorruptEntryError,
    DataError,
    EntitlementError,
    KindMismatchError,
    LockTimeoutError,
    NoDataError,
    ProviderTimeoutError,
    QualityError,
    RegionError,
    SpliceConflictError,
    StorageError,
    UnsupportedError,
)
from ...model.actions import Action
from ...model.bars import BarTable, inside, merge
from ...model.coverage import Coverage, VendorDay
from ...model.instant import DAY_MS, MINUTE_MS, date_of, day_ms
from ...model.kind import Basis, Kind
from ...model.lifetime import Lifetime
from ...model.query import BarsQuery
from ...model.series import SeriesKey
from ...model.source import SourceState
from ...model.span import Span
from ...net.deadline import call_left_s
from ..answer.adjust import with_answers
from ..answer.answer import Unfilled
from ..selection.candidates import Candidate, LaneRoute
from ..validity import TradingDays

# What says something about a stretch, and nothing about the vendor.
_OF_A_STRETCH = (NoDataError, QualityError, CapabilityError, SpliceConflictError)
# What says nothing about how a vendor would answer for bars of another length or kind.
_OF_THE_QUESTION = (QualityError, CapabilityError, KindMismatchError, EntitlementError)


class Forming(NamedTuple):
    """Bars that have not closed; they are never stored."""

    table: BarTable
    vendor: str
    basis: Basis
    kind: Kind = Kind()


@dataclass
class SeriesSnapshot:
    """What one phase of a request decides by, each part looked at once, when it is first needed.

    A phase ends where what was looked at may have changed: with a wait for another caller, a question
    to a vendor, a commit. A read may repair what it reads, so the view that belongs to it takes
    the place of the one before.

    Attributes:
        now_ms: UTC milliseconds.
        view: what is stored of the series.
        book: the splits and dividends of its symbol; nothing where they are damaged.
        before: the view of the phase before. It decides nothing; a read may start from it, for the
            series is looked at again behind every read.
    """

    now_ms: int | None = None
    view: SeriesView | None = None
    book: ActionBook | None = None
    before: SeriesView | None = None

    @property
    def since(self) -> SeriesView | None:
        """The newest view that a read may start from."""
        return self.view or self.before


@dataclass
class FetchState:
    """One request on its way through one lane: what was tried and what came of it.

    Used by one thread only.

    Attributes:
        query, key, lane, grid: what is asked, where it lives, which vendors may answer, where bars stand.
        attempts: every vendor asked, in order.
        unfilled: what no vendor supplied.
        fetched: the stretches that a vendor answered just now.
        stored: the stretches of bars, and of nothings, that this request has stored.
        overdue: stored bars that an answer made doubtful and that can be asked again at once.
        unstored, unstored_actions: what the disk refused.
        forming: the running bar, if it came.
        problems: sentences for the provenance.
        scores: of the answers, 0 to 1.
        out: vendors not to be asked again by this request, with the reason.
        untold: vendors that failed to tell splits and dividends, and why.
        is_last_lane: whether no other lane is tried after this one.
        beside: attempts at splits, dividends and daily closes, which the bars are adjusted by.
        snapshot: of the phase in which the request is.
        lacking: sessions of these bars that vendors lack for most of their symbols.
        source: the files of the lane's folder, as they were before any was read.
        outdated: why what was read of them is in doubt, though they are not read again; else empty.
    """

    query: BarsQuery
    key: SeriesKey
    lane: LaneRoute
    grid: BarGrid
    attempts: list[Attempt] = field(default_factory=list)
    unfilled: list[Unfilled] = field(default_factory=list)
    fetched: list[Span] = field(default_factory=list)
    stored: list[Span] = field(default_factory=list)
    overdue: list[Span] = field(default_factory=list)
    unstored: list[Commit] = field(default_factory=list)
    unstored_actions: list[tuple[Sequence[Action], Asked]] = field(default_factory=list)
    forming: Forming | None = None
    problems: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    out: dict[str, DataError] = field(default_factory=dict)
    untold: dict[str, DataError] = field(default_factory=dict)
    is_last_lane: bool = False
    beside: list[Attempt] = field(default_factory=list)
    snapshot: SeriesSnapshot = field(default_factory=SeriesSnapshot)
    lacking: Sequence[VendorDay] = ()
    source: SourceState | None = None
    outdated: str = ""

    def end_phase(self) -> None:
        """Let the next decision look anew: something may have changed what was looked at."""
        self.snapshot = SeriesSnapshot(before=self.snapshot.since)

    def note_lacking(self, days: Sequence[VendorDay]) -> None:
        """Keep those of the days that vendors lack which are of such bars."""
        bars = self.grid.calendar.name, self.grid.timeframe.label
        self.lacking = [day for day in days if (day.calendar, day.timeframe) == bars]

    @property
    def settle_ms(self) -> int:
        """The settling time of the lane's first vendor."""
        capabilities = self.lane.candidates[0].capabilities
        return capabilities.settle_ms if capabilities else 2 * MINUTE_MS

    @property
    def rows(self) -> int:
        """How many bars vendors have sent."""
        return sum(attempt.rows for attempt in self.attempts)

    def has_others(self, candidate: Candidate) -> bool:
        """Tell whether another vendor can still be asked after ``candidate``."""
        left = [c.name for c in self.lane.candidates if c.name not in self.out]
        return not self.is_last_lane or left[-1:] != [candidate.name]

    def note(self, attempt: Attempt) -> None:
        """Remember an attempt; a vendor that is down or refuses is not asked again."""
        self.attempts.append(attempt)
        if attempt.error is not None and not isinstance(attempt.error, _OF_A_STRETCH):
            self.out[attempt.provider] = attempt.error


def is_down(error: DataError) -> bool:
    """Tell whether a vendor failed in a way that another question would not change."""
    if isinstance(error, RegionError):
        return True  # no other question is served from here either
    if isinstance(error, ProviderTimeoutError) and error.by_caller:
        return False
    return not isinstance(error, (*_OF_THE_QUESTION, NoDataError))


def is_outage(outcomes: Sequence[DataError]) -> bool:
    """Tell whether all vendors that serve such bars were down, by what each of them came to."""
    serving = [error for error in outcomes if not isinstance(error, UnsupportedError)]
    return bool(serving) and all(map(is_down, serving))


# --- what keeps what a request learned


log = logging.getLogger("onetape.routing")

# What came in time is stored though the time is over, where no writer is stuck.
_LEAST_WAIT_S = 0.1
_REFUSED = (StorageError, LockTimeoutError, CorruptEntryError)


class StoreWriter:
    """Looks and commits for requests on their way. Thread-safe: it keeps no state of its own.

    A look is one a phase, see :class:`SeriesSnapshot`, and shows with what is stored what could not be.

    A disk that refuses, or a writer that holds the series for longer than the call has time, costs
    no bar: what could not be stored stays in the request's ``work``, is part of its answer, and is
    asked again by the next one. A job, whose bars are for the store, ends with the error instead.
    """

    def __init__(self, store: BarStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def commit(self, work: FetchState, commit: Commit) -> None:
        """Store a commit, or keep it in ``work.unstored``.

        Raises:
            CacheError: the query must store, and it cannot be stored.
        """
        # With every commit: another caller may have found the files changed meanwhile.
        whole = commit if work.source is None else replace(commit, source=work.source)
        try:
            self._store.commit(work.key, whole, _wait_s())
            work.stored += (piece.span for piece in commit.pieces)
            work.stored += (mark.span for mark in commit.marks if mark.state == "empty")
        except _REFUSED as error:
            if work.query.must_store:
                raise
            work.unstored.append(commit)
            self._note(work, error)
        finally:
            work.snapshot = SeriesSnapshot()

    def add_actions(self, work: FetchState, actions: Sequence[Action], answer: Asked) -> None:
        """Store what a vendor said about splits and dividends, or keep it in the work.

        Raises:
            CacheError: the query must store, and it cannot be stored.
        """
        teller = work.query.teller
        if teller is not None and answer.source == work.query.provider != teller:
            answer = answer._replace(source=teller)
            actions = [replace(action, source=teller) for action in actions]
        try:
            self._store.add_actions(work.key.symbol, actions, *answer, wait_s=_wait_s())
        except _REFUSED as error:
            if work.query.must_store:
                raise
            work.unstored_actions.append((tuple(actions), answer))
            self._note(work, error)
        finally:
            work.snapshot.book = None

    def forget_actions(self, work: FetchState) -> None:
        """Forget what a recording told that is another one now; a disk that refuses is told of.

        Raises:
            CacheError: the query must store, and it cannot be stored.
        """
        try:
            self._store.forget_actions(work.key.symbol, work.query.teller or "", _wait_s())
        except _REFUSED as error:
            if work.query.must_store:
                raise
            self._note(work, error)
        finally:
            work.snapshot.book = None

    def now_ms(self, work: FetchState) -> int:
        """Return the time of the phase."""
        if work.snapshot.now_ms is None:
            work.snapshot.now_ms = self._clock.now_ms()
        return work.snapshot.now_ms

    def view(self, work: FetchState) -> SeriesView:
        """Return what is stored of the series."""
        if work.snapshot.view is None:
            work.snapshot.view = self._store.view(work.key)
        return work.snapshot.view

    def read(self, work: FetchState, span: Span) -> tuple[BarTable, Coverage]:
        """Return the stored bars in ``span`` and what is known about it; the view is theirs then."""
        stretch = self._store.stretch(work.key, span, work.snapshot.since)
        work.snapshot.view = stretch.view
        return stretch.table, stretch.coverage

    def coverage(self, work: FetchState) -> Coverage:
        """Return what is known of the series, with what could not be stored."""
        coverage = self.view(work).coverage
        for commit in work.unstored:
            coverage = laid_over(BarTable.empty(), coverage, commit)[1]
        return coverage

    def lifetime(self, work: FetchState) -> Lifetime:
        """Return when the series begins and ends, with what could not be stored."""
        life = self.view(work).lifetime
        for commit in work.unstored:
            life = life.updated(commit.lifetime)
        return life

    def behind_a_cut(self, work: FetchState, days: Span, first_row_ms: int | None) -> Span:
        """Return the ex-dates that an answer tells of: not those before its first row, if cut off.

        Where it lacks bars that are known, rows that begin late are no listing and no halt.
        """
        if first_row_ms is None or first_row_ms <= days.start:
            return days
        missing = Span(days.start, first_row_ms)
        pieces = [piece.table.stamps for commit in work.unstored for piece in commit.pieces]
        try:
            pieces.append(self.read(work, missing)[0].stamps)
        except CorruptEntryError as error:
            log.debug("%s: %s", work.key.symbol, error)
        is_cut = any(inside(stamps, [missing]).any() for stamps in pieces)
        return Span(min(first_row_ms, days.end), days.end) if is_cut else days

    def book(self, work: FetchState) -> ActionBook:
        """Return the splits and dividends known of a stock; nothing where the book is damaged."""
        if work.query.instrument.asset_class != "stock":
            return ActionBook()
        if work.snapshot.book is None:
            try:
                work.snapshot.book = self._store.actions(work.key.symbol)
            except CorruptEntryError:
                work.snapshot.book = ActionBook()
        book = with_answers(work.snapshot.book, work.unstored_actions)
        return book.beside(work.query.teller)

    def _note(self, work: FetchState, error: Exception) -> None:
        problem = f"not stored: {error}"
        if problem not in work.problems:
            # These two are warned about once, and not with every request.
            is_told = isinstance(error, ReadOnlyError | NoRoomError)
            level = logging.DEBUG if is_told else logging.WARNING
            log.log(level, "%s could not be stored: %s", work.query, error)
            work.problems.append(problem)


def _wait_s() -> float:
    """Return how long another writer of the series may be waited for within this call."""
    return max(_LEAST_WAIT_S, call_left_s())


def laid_over(table: BarTable, coverage: Coverage, commit: Commit) -> tuple[BarTable, Coverage]:
    """Return bars and coverage as they were if ``commit`` had been stored."""
    for piece in commit.pieces:
        outside = (table.stamps < piece.span.start) | (table.stamps >= piece.span.end)
        table = merge(table.take(outside), piece.table)

    def has_bars(span: Span) -> bool:
        """Tell whether there are bars in ``span``."""
        first, last = np.searchsorted(table.stamps, span)
        return bool(last > first)

    return table, after_marks(after_pieces(coverage, commit.pieces), commit.marks, has_bars)


def actions_known(store: BarStore, query: BarsQuery, days: TradingDays) -> bool:
    """Tell whether the splits and dividends of a share are known from the asked range up to now."""
    if query.instrument.asset_class != "stock" or query.provider is not None:
        return False
    try:
        book = store.actions(query.instrument.symbol)
    except CorruptEntryError:
        return False
    first = day_ms(date_of(query.span.start)) + DAY_MS
    return book.covers(Span(first, max(first, day_ms(days.current(query.instrument).day) + DAY_MS)))
